"""The store's drivers, one file each."""
