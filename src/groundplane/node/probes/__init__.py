"""Probes: whether a container has started, is alive, and is ready.

`checks` asks once; `prober` repeats one probe with its thresholds; nothing here ends a container: it only tells.
"""
