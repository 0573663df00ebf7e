"""The objects that exist after the first start (roles, bindings, namespaces, priority classes, …), and their upkeep.

The objects themselves are facts, kept in `kinds`' pack; `plan.py` says, purely, which of them to write.
"""
