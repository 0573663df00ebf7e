"""What this server serves, told to clients: the old documents per group and version, and all in one (v2)."""
