"""nf_tables without a library: expressions, objects and atomic transactions over netfilter netlink.

    expressions   what a rule does, one function per expression: bytes that are put together into a rule
    objects       tables, chains, rules, sets, maps and elements as requests (values)
    transaction   many requests, one commit: all or nothing
    listing       what the kernel has: for reconciliation and sweeps

The strange parts, once. *Registers*: a rule's expressions talk through registers; a concatenated key (`ip . port`) is
consecutive 4-byte registers, each field padded to 4 bytes. *Sets and maps* are looked up by such a key; a map gives
data into registers, a verdict map ends or redirects the walk. *Anonymous* sets live and die with one rule and are named
in the same transaction by a number (the set id). *A transaction* is seen by packets entirely or not at all.
*Validation*: a commit that adds a rule or a verdict re-checks every chain reachable in its table; changes of elements
whose data are values are not checked at all. Services are therefore elements, not rules (dataplane/services/nft.py).

All numbers are big-endian, except data in registers, which keep the order of the expression that made them.
"""
