"""What Services take from limited ranges: cluster IPs and node ports, given in the request as upstream does.

Kept in memory only and rebuilt from the living Services at start, so a crash can lose nothing and leak nothing.
"""
