"""The etcd driver: the contract over a real etcd (3.4 or newer), which several API servers may share.

    writes ──► one transaction each: compare the key's revision, put it, leave a mark ──► etcd
    etcd ──► one watch over everything ──► view (newest state, recent events) ──► watchers, then the writer's answer
    reads ──► `sync`: etcd's newest revision, wait until the view has it ──► view

`url.py` is what the URL says, `gateway.py` etcd's JSON gateway (members, failover, password), `messages.py` its words,
`feed.py` the watch and the view, `writes.py` the transactions and what happens when an answer is lost, `history.py`
older revisions, `upkeep.py` compaction, `store.py` the contract. Owns `PREFIX/…` in etcd; its own few keys are below
`PREFIX/!ground/`.
"""
