"""ReplicationController, the elder of ReplicaSet: the same loop over another kind."""
