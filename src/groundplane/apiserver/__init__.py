"""One request from socket to store and back: edge, chain (authn, authz, admission, verb), access, discovery, openapi.

Holds the truth in the store and nothing beside it; other loops see it only through client.
"""
