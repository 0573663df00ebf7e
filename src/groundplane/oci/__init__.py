"""What the OCI documents say: image, distribution and runtime documents as frozen types with strict readers; no I/O."""
