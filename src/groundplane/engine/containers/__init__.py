"""Containers: what was asked for, what runs, and what it wrote, found again after the death of any process.

Owns `ROOT/containers/<id>/` (durable: `container.json`, `state.json`, the end of the last run in `exit`, the log, and
the generated `hosts`, `hostname`, `resolv.conf`) and `RUN/c/<id12>/` (the bundle; while the container runs, also its
supervisor's files). Speaks to the spawner and to supervisors over sockets (`link.py`, `supervised.py`), never imports
them. Reads images and snapshots through their contracts; knows no network beyond none, host and a sandbox's pins.
"""
