"""Networks on this host: the routed network of pods (`pods.py`); bridges of plain containers come beside it.

    pods         attach a network namespace: veth pair, address, routes; detach; sweep; tear down
    leases       which address belongs to which sandbox, durable
    rules        the nf_tables table of the pod network: masquerade, hairpin, a guard for 127.0.0.0/8
    forwarding   what the host must allow: ip_forward, and one tag in Docker's own chain

Owns `networks/` below the state root, links named `g<instance>…`, the routes that are tied to them, and the table
`ground-<instance>-pods`. Never touches links, routes or tables of others, except for the tagged rules in DOCKER-USER.
"""
