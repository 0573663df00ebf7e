"""pkg/controller/volume/pvcprotection/pvc_protection_controller.go; admission adds the finalizer."""

from __future__ import annotations

from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting
from groundplane.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from groundplane.controllers.pvcprotection.plan import claims_of, in_use, without_finalizer
from groundplane.controllers.runner import Context, KeyedController

FINALIZER = "kubernetes.io/pvc-protection"


class PVCProtectionController(KeyedController):
    """Keys are claims."""

    name = "pvcprotection"
    account = "pvc-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        claims, pods = self.watch(PERSISTENT_VOLUME_CLAIMS), self.watch(PODS)
        self._claims, self._pods = claims.cache, pods.cache
        claims.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new)))
        pods.add_handler(Handler(update=lambda _, new: self._freed(new), delete=self._freed))

    def _freed(self, pod: Object) -> None:
        for claim in claims_of(pod):
            self.queue.add((pod["metadata"]["namespace"], claim))

    async def reconcile(self, key: Key) -> None:
        claim = self._claims.by_key(key)
        if claim is None or not is_deleting(claim) or FINALIZER not in (claim["metadata"].get("finalizers") or ()):
            return
        if in_use(key[1], self._pods.list(key[0])):
            return  # the pod's end is the next key
        try:
            await self.client.of(PERSISTENT_VOLUME_CLAIMS).update(without_finalizer(claim, FINALIZER))
        except ApiError as error:
            if not error.is_not_found:
                raise
