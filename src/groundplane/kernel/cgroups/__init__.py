"""Control groups: one contract (`contract.py`), a driver for each layout of a host, and detection (`registry.py`).

Owns no state but the directories it was asked to make; never writes into, moves processes out of, or removes a cgroup
that it was not named. Knows limits only in the kernel's own units; OCI's and Kubernetes' words are translated above.
"""
