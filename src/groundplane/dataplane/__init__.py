"""Services and cluster DNS on this node: nf_tables maps and a DNS server, kept like the cluster says.

Sees the cluster only through client and the host only through kernel; touches only tables and routes of its instance.
"""
