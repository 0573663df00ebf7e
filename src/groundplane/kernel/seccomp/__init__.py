"""Seccomp: plain rules in (`filter.py`), a small classic BPF program out (`compiler.py`), put in force by `install.py`.

Knows system calls by name on each architecture (`tables/`); knows nothing of OCI's or Docker's profiles.
"""
