"""The revisioned log. Owns the state root's `store/` files; reads and writes bytes and never looks inside them.

`contract.py` is the prose; `drivers/` are its siblings; `registry.py` names them; `view.py` is what all drivers keep in
memory. Only `apiserver` and `daemon` come here.
"""
