"""PodSecurity: what a namespace's labels allow its pods (kubernetes.io, "Pod Security Standards").

`checks.py` is the standards, pure; `plugin.py` reads the labels and refuses or warns.
"""
