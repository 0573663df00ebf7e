"""The store's newest state and recent changes in memory: one copy of bytes an object, one event for all watchers.

Owns no truth: everything here is rebuilt from the store's log. Reads answer from it after `Cache.catch_up`, which takes
in every change that was answered before the read began, on another server of the same etcd too: so a client reads its
own writes, and everybody's. With resourceVersion=0, which allows any state, nothing is asked of the store.

    store.watch("/registry/") ──► Cache.drain ──► Collection.apply ──► Stored (bytes), Change ──► Watcher queues
"""
