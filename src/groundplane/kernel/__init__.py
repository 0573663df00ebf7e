"""The only door to Linux: system calls by family, cgroups, netlink, nf_tables, seccomp, capabilities.

Owns no state; errors are one type naming call and object. Knows no document format: OCI and Kubernetes are others'
words.
"""
