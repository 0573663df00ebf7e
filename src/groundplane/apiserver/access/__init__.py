"""Who asks, and whether they may: authentication, authorization (Node, RBAC), tokens, access reviews, escalation.

Owns no objects: roles and bindings are pushed into the RBAC index by the server's cache, everything else is read
through `contract.Objects`. Decides and never writes; `contract.py` has the words.
"""
