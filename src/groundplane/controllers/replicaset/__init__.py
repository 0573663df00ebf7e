"""Keeps as many pods as a ReplicaSet asks for; the same code serves ReplicationController."""
