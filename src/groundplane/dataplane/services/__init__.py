"""Services on this node, as nf_tables elements.

plan     pure: one Service and its EndpointSlices → what packets should find
shapes   the few chains that pick an endpoint, shared by all Services of the same shape
table    plans → one transaction: only what changed; a restart reads the kernel's table and sends the difference
loop     informers → plans → table; wakes those who wait for an endpoint to leave
"""
