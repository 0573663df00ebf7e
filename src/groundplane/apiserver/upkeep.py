"""What a running server does by itself: it moves a horizon, and brings its own Service back where somebody deleted it.

The horizon is the revision behind which it reads no history any more.

Upstream compacts etcd every five minutes (kube-apiserver --etcd-compaction-interval), and clients count on it: a
continue token or an exact resource version of ten minutes ago is answered with 410 Expired. Our stores keep history
longer, for who asks the store for it, so the server itself stops looking back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import delivery
from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine

_log = Log("apiserver.upkeep")
HORIZON_EVERY = 300.0
OWN_EVERY = 10.0  # pkg/controlplane/controller/kubernetesservice: as often as there


class Upkeep:
    """`address` is where this server is reached."""

    def __init__(self, machine: Machine, address: str) -> None:
        self._machine = machine
        self._address = address
        self._tasks = Tasks("apiserver.upkeep")

    def start(self) -> None:
        self._tasks.start("horizon", self._move_horizon())
        self._tasks.start("own", self._keep_own())

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _move_horizon(self) -> None:
        cache, clock = self._machine.cache, self._machine.clock
        while True:
            newest = cache.revision
            await clock.sleep(HORIZON_EVERY)
            cache.horizon = newest

    async def _keep_own(self) -> None:
        while True:
            await self._machine.clock.sleep(OWN_EVERY)
            try:
                await delivery.bring_back(self._machine, self._address)
            except GroundError as error:  # a full disk, for one; there is a next time
                _log.warning("the kubernetes Service is not there", error=str(error))
