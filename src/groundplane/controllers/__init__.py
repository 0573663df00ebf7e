"""One folder per controller, all alike: plan.py (pure), status.py (pure), loop.py.

See the cluster only through client.
"""
