"""Lets a deleted PersistentVolumeClaim go once no pod uses it (the finalizer that admission put on it)."""
