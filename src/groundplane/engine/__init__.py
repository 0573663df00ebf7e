"""The one owner of this host's images, snapshots, containers, sandboxes and their networks.

Owns the state root's `images/`, `snapshots/`, `containers/`, `sandboxes/`; speaks to the runtime's resident half over a
socket and never imports it; knows nothing of Kubernetes. `contract.py` is the prose.
"""
