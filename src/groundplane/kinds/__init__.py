"""What Kubernetes says: the generated schema pack, decoding, defaults, validation, strategies, tables, patches, apply.

Pure functions over plain dicts; no I/O, no clock; never changes an argument in place.
"""
