"""Sandboxes: what the containers of a pod share. Pinned network, IPC and UTS namespaces, an address, a cgroup.

Owns `ROOT/sandboxes/<id>.json` (durable) and `RUN/s/<id12>/` (the files that namespaces are bound to). The namespaces
are made by the spawner; the network inside is `contract.PodNetwork`'s.
"""
