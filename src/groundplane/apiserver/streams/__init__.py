"""What a pod's node serves through the API server: logs, exec, attach, port-forward.

Reads a pod to find its node; the node is reached in this process or over TLS, behind one contract.
"""
