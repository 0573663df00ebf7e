"""The kubelet: a worker per pod, a pure plan, probes, volumes, status, and the kubelet's HTTPS API.

Sees the cluster through client and the host through engine.
"""
