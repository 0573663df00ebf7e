"""Every controller there is. Adding one: its folder, and one line here."""

from __future__ import annotations

from typing import Any

from groundplane.controllers.clusterrole.loop import ClusterRoleAggregationController
from groundplane.controllers.deployment.loop import DeploymentController
from groundplane.controllers.endpoints.loop import EndpointsController
from groundplane.controllers.endpointslice.loop import EndpointSliceController
from groundplane.controllers.garbagecollector.loop import GarbageCollector
from groundplane.controllers.namespace.loop import NamespaceController
from groundplane.controllers.nodeipam.loop import NodeIPAMController
from groundplane.controllers.nodelifecycle.loop import NodeLifecycleController
from groundplane.controllers.podgc.loop import PodGarbageCollector
from groundplane.controllers.pvcprotection.loop import PVCProtectionController
from groundplane.controllers.pvprotection.loop import PVProtectionController
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.controllers.replicationcontroller.loop import ReplicationControllerController
from groundplane.controllers.rootca.loop import RootCAPublisher
from groundplane.controllers.runner import Controller
from groundplane.controllers.serviceaccount.loop import ServiceAccountController
from groundplane.controllers.tainteviction.loop import TaintEvictionController

CONTROLLERS: tuple[type[Controller[Any]], ...] = (
    ServiceAccountController,
    RootCAPublisher,
    ClusterRoleAggregationController,
    NodeIPAMController,
    NodeLifecycleController,
    TaintEvictionController,
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    EndpointSliceController,
    EndpointsController,
    NamespaceController,
    GarbageCollector,
    PodGarbageCollector,
    PVCProtectionController,
    PVProtectionController,
)
