"""A pod's volumes on this host: directories made before its containers start, kept fresh, and removed with it.

Owns `pods/<uid>/` below the node's state root; writes files by atomic directory swaps; mounts only tmpfs and sub-path
binds, and unmounts them.
"""
