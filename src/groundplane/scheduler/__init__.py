"""Which node a pod runs on: extension-point contract, queue, cycle, plugins.

Sees the cluster only through client.
"""
