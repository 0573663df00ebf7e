"""The Docker Engine REST API over the engine, and our own few endpoints under /ground/.

Translates; decides nothing.
"""
