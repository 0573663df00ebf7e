"""The EndpointSlice controller."""

from __future__ import annotations

import asyncio

from groundplane.base.clock import rfc3339
from groundplane.client.contract import ApiError, Object
from groundplane.client.events import WARNING
from groundplane.client.informer import Handler
from groundplane.client.objects import (
    Key,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
    with_annotations,
)
from groundplane.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from groundplane.controllers.endpointslice import plan as plans
from groundplane.controllers.endpointslice.plan import MANAGER, MANAGER_LABEL, SERVICE_LABEL
from groundplane.controllers.expectations import Expectations
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending
from groundplane.controllers.service_pods import matters_to_services, selects, services_of

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
ZONE = "topology.kubernetes.io/zone"


class EndpointSliceController(KeyedController):
    """Keys are Services."""

    name = "endpointslice"
    account = "endpointslice-controller"
    component = "endpoint-slice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        services, pods = self.watch(SERVICES), self.watch(PODS)
        slices, nodes = self.watch(ENDPOINT_SLICES), self.watch(NODES)
        self._services, self._pods, self._slices, self._nodes = services.cache, pods.cache, slices.cache, nodes.cache
        self._slices.add_index("service", lambda each: [_service_word(each)] if _is_mine(each) else [])
        self._expected = Expectations(slices, self.queue.add)
        self._verbs = self.client.endpoint_slices
        services.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new), delete=self.enqueue))
        pods.add_handler(Handler(add=self._pod_came, update=self._pod_changed, delete=self._pod_came))
        slices.add_handler(Handler(add=self._slice, update=lambda _, new: self._slice(new), delete=self._slice))

    def _pod_came(self, pod: Object) -> None:
        for service in services_of(self._services.list(namespace_of(pod)), pod):
            self.enqueue(service)

    def _pod_changed(self, old: Object, new: Object) -> None:
        if matters_to_services(old, new):
            for service in services_of(self._services.list(namespace_of(new)), old, new):
                self.enqueue(service)

    def _slice(self, each: Object) -> None:
        """Ours, changed by us or by somebody else: look whether it is as it should be."""
        if _is_mine(each):
            self.queue.add((namespace_of(each), labels_of(each)[SERVICE_LABEL]))

    async def reconcile(self, key: Key) -> None:
        service = self._services.by_key(key)
        if service is None:
            self._expected.forget(key)  # the garbage collector removes the slices
            return
        if is_deleting(service) or not (service.get("spec") or {}).get("selector"):
            return
        if (service["spec"].get("type") or "") == "ExternalName":
            return
        if not self._expected.are_met(key):
            return
        slices = [s for s in self._slices.by_index("service", _word(*key)) if not is_deleting(s)]
        pods = [pod for pod in self._pods.list(key[0]) if selects(service, pod)]
        zones = {name_of(n): z for n in self._nodes if (z := labels_of(n).get(ZONE))}
        await self._carry_out(key, service, plans.plan(service, pods, slices, zones))

    async def _carry_out(self, key: Key, service: Object, plan: plans.Plan) -> None:
        stamp = {TRIGGER: rfc3339(self.clock.time())}
        work = [self._create(key, with_annotations(each, stamp)) for each in plan.create]
        work += [self._update(key, with_annotations(each, stamp)) for each in plan.update]
        work += [self._delete(key, each) for each in plan.delete]
        failures = [error for error in await asyncio.gather(*work, return_exceptions=True) if error is not None]
        if not failures:
            return
        message = f"Error updating Endpoint Slices for Service {key[0]}/{key[1]}: {failures[0]}"
        if not is_namespace_ending(failures[0]):
            self.tell(service, SERVICES, WARNING, "FailedToUpdateEndpointSlices", message)
            raise failures[0]

    async def _create(self, key: Key, body: Object) -> None:
        self._expected.wrote(key, await self._verbs.create(body))

    async def _update(self, key: Key, body: Object) -> None:
        self._expected.wrote(key, await self._verbs.update(body))

    async def _delete(self, key: Key, each: Object) -> None:
        try:
            await self._verbs.delete(name_of(each), namespace_of(each), uid=uid_of(each))
        except ApiError as error:
            if not error.is_not_found:
                raise
        self._expected.deleted(key, each)


def _is_mine(each: Object) -> bool:
    labels = labels_of(each)
    return labels.get(MANAGER_LABEL) == MANAGER and SERVICE_LABEL in labels


def _service_word(each: Object) -> str:
    return _word(namespace_of(each), labels_of(each)[SERVICE_LABEL])


def _word(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"
