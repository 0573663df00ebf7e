"""One request from socket to store and back: serve, chain (authn, authz, admission, verb), verbs, access, discovery, openapi.

Holds the truth in the store and nothing beside it; other loops see it only through client.
"""
