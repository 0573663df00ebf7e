"""How every loop sees the cluster: transports, typed verbs, informers, work queues, event recorder, retry.

Owns connections and caches; reads and writes the cluster only through an API server; never touches a store or a host.
"""
