"""How every loop sees the cluster: transports, typed verbs, informers, work queues, event recorder, retry.

Owns connections and caches; reads and writes the cluster only through an API server; never touches a store or a host.

    contract    Transport, Request, Response, ApiError        client      Client, ResourceClient: the verbs
    resources   which resource lives where                    informer    list, watch, cache, handlers, indexes
    queue       the work queue                                events      the event recorder
    https       a Transport over TLS                          kubeconfig  its file
    leader      Lease leader election                         ownership   controller references, adoption, release
    objects     building new objects out of shared ones
"""
