"""Images: a content-addressed store in the OCI image layout, the names in it, and images made from this host.

Owns `ROOT/images/`: `blobs/sha256/<hex>`, `index.json` (the names), `ingest/` (what is being written), `cache/` (layers
by the fingerprint of the host files that they were made from). Every blob is verified when it comes in.
"""
