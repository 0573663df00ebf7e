"""Root file systems: image layers unpacked once each, and one writable overlay over them per container.

Owns `ROOT/snapshots/`; mounts only below it; reads layers through `LayerSource` and never writes blobs.
"""
