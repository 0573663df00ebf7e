"""Lets a deleted PersistentVolume go once it is not bound to a claim (the finalizer that admission put on it)."""
