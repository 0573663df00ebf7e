"""Rolls a Deployment's template out through ReplicaSets, never below and never above what its strategy allows.

annotations   the bookkeeping that upstream and kubectl keep in annotations: revisions, desired and maximal sizes
sizes         the arithmetic of maxSurge, maxUnavailable and proportional scaling
plan          from (deployment, its sets, its pods) to what to create, scale, annotate and delete
status        counts and conditions
"""
