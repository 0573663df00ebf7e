"""pkg/controller/replication: upstream, too, runs the ReplicaSet controller through an adapter."""

from __future__ import annotations

from groundplane.client.contract import Object
from groundplane.client.resources import REPLICATION_CONTROLLERS
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.kinds.selectors import NOTHING, LabelSelector, from_map


class ReplicationControllerController(ReplicaSetController):
    """Keys are ReplicationControllers."""

    name = "replicationcontroller"
    account = "replication-controller"
    resource = REPLICATION_CONTROLLERS

    def selector_of(self, owner: Object) -> LabelSelector:
        selector = (owner.get("spec") or {}).get("selector")
        return from_map(selector) if selector else NOTHING
