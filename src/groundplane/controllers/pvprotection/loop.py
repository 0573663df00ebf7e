"""pkg/controller/volume/pvprotection/pv_protection_controller.go; admission adds the finalizer."""

from __future__ import annotations

from groundplane.client.contract import ApiError
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting
from groundplane.client.resources import PERSISTENT_VOLUMES
from groundplane.controllers.pvcprotection.plan import without_finalizer
from groundplane.controllers.runner import Context, KeyedController

FINALIZER = "kubernetes.io/pv-protection"


class PVProtectionController(KeyedController):
    """Keys are volumes."""

    name = "pvprotection"
    account = "pv-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        volumes = self.watch(PERSISTENT_VOLUMES)
        self._volumes = volumes.cache
        volumes.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new)))

    async def reconcile(self, key: Key) -> None:
        volume = self._volumes.by_key(key)
        if volume is None or not is_deleting(volume) or FINALIZER not in (volume["metadata"].get("finalizers") or ()):
            return
        if (volume.get("status") or {}).get("phase") == "Bound":
            return
        try:
            await self.client.of(PERSISTENT_VOLUMES).update(without_finalizer(volume, FINALIZER))
        except ApiError as error:
            if not error.is_not_found:
                raise
