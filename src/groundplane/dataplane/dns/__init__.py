"""Cluster DNS on this node, by the Kubernetes DNS specification 1.1.0.

    zone      pure: names of Services and pods → records
    forward   everything else → the host's own name servers; cache: what they answered lately
    server    UDP and TCP on the cluster's DNS address; which of the two answers

Every node serves its own pods on the same virtual address, so a lookup never leaves the node, and needs no pod.
"""
