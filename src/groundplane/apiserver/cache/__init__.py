"""The store's newest state and recent changes in memory: one copy of bytes an object, one event for all watchers.

Owns no truth: everything here is rebuilt from the store's log. Reads answer from it after `Cache.drain`, which takes in
every change that was queued before the read began, so a client reads its own writes.

    store.watch("/registry/") ──► Cache.drain ──► Collection.apply ──► Stored (bytes), Change ──► Watcher queues
"""
