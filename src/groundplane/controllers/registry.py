"""Every controller there is. Adding one: its folder, and one line here."""

from __future__ import annotations

from typing import Any

from groundplane.controllers.deployment.loop import DeploymentController
from groundplane.controllers.replicaset.loop import ReplicaSetController
from groundplane.controllers.runner import Controller

CONTROLLERS: tuple[type[Controller[Any]], ...] = (
    DeploymentController,
    ReplicaSetController,
)
