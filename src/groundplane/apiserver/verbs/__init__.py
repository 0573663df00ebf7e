"""One verb, one file: what each does to one generic resource, the same for every kind.

A verb is `async def verb(machine, endpoint, call) -> Answer`; `registry.py` names which resource offers which.
"""
