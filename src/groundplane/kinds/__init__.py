"""What Kubernetes says: the generated schema pack, defaults, validation, strategies, quantities, selectors, patches, apply.

Pure functions over plain dicts; no I/O, no clock; never changes an argument in place.
"""
