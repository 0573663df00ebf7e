"""System calls by family; each wrapper carries the call's own name and cites its man page and first kernel version."""
