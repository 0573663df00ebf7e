"""What happens to a write between authorization and the store: a list of small plug-ins, each a value.

Reads the cache through the machine; changes only the object in its hand. `contract.py` is the prose, `chain.py` the
order, one file a plug-in.
"""
