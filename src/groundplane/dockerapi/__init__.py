"""The Docker Engine REST API (1.47) over the engine, and our own few endpoints under /ground/.

Translates; decides nothing. `routes.py` is the table of what is offered, `refused.py` of what is not and why. Served on
a unix socket that only root may open: whoever may speak to it is root on this host, as with Docker.
"""
