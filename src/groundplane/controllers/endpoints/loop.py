"""The Endpoints controller."""

from __future__ import annotations

from groundplane.base.clock import rfc3339
from groundplane.client.contract import ApiError, Object
from groundplane.client.events import WARNING
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, labels_of, name_of, namespace_of, with_annotations
from groundplane.client.resources import ENDPOINTS, PODS, SERVICES
from groundplane.controllers.endpoints import plan as plans
from groundplane.controllers.endpointslice.loop import TRIGGER
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending
from groundplane.controllers.service_pods import matters_to_services, selects, services_of


class EndpointsController(KeyedController):
    """Keys are Services, and Endpoints whose Service is gone."""

    name = "endpoints"
    account = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        services, pods, endpoints = self.watch(SERVICES), self.watch(PODS), self.watch(ENDPOINTS)
        self._services, self._pods, self._endpoints = services.cache, pods.cache, endpoints.cache
        self._verbs = self.client.endpoints
        services.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new), delete=self.enqueue))
        pods.add_handler(Handler(add=self._pod_came, update=self._pod_changed, delete=self._pod_came))
        endpoints.add_handler(Handler(add=self._left_over, delete=self.enqueue))

    def _pod_came(self, pod: Object) -> None:
        for service in services_of(self._services.list(namespace_of(pod)), pod):
            self.enqueue(service)

    def _pod_changed(self, old: Object, new: Object) -> None:
        if matters_to_services(old, new):
            for service in services_of(self._services.list(namespace_of(new)), old, new):
                self.enqueue(service)

    def _left_over(self, each: Object) -> None:
        """After a start: an object of ours whose Service went while nobody looked."""
        if labels_of(each).get(plans.MANAGER_LABEL) == plans.MANAGER:
            self.enqueue(each)

    async def reconcile(self, key: Key) -> None:
        service, old = self._services.by_key(key), self._endpoints.by_key(key)
        if service is None:
            await self._remove(key, old)
            return
        if not (service.get("spec") or {}).get("selector"):
            return
        pods = [pod for pod in self._pods.list(key[0]) if selects(service, pod)]
        wanted = plans.endpoints(service, pods, old)
        if old is not None and _same(wanted, old):
            return
        wanted = with_annotations(wanted, {TRIGGER: rfc3339(self.clock.time())})
        try:
            await (self._verbs.create(wanted) if old is None else self._verbs.update(wanted))
        except ApiError as error:
            if is_namespace_ending(error):
                return
            if error.code != 409:
                reason = "FailedToCreateEndpoint" if old is None else "FailedToUpdateEndpoint"
                word = "create" if old is None else "update"
                message = f"Failed to {word} endpoint {key[0]}/{key[1]}: {error}"
                self.tell(service, SERVICES, WARNING, reason, message)
            raise

    async def _remove(self, key: Key, old: Object | None) -> None:
        """Endpoints have no owner reference: their Service's end is told here."""
        if old is None or labels_of(old).get(plans.MANAGER_LABEL) != plans.MANAGER:
            return
        try:
            await self._verbs.delete(name_of(old), key[0])
        except ApiError as error:
            if not error.is_not_found:
                raise


def _same(wanted: Object, old: Object) -> bool:
    """Alike but for targetRef.resourceVersion, which others' objects may carry."""
    return bool((wanted.get("subsets") or []) == (old.get("subsets") or []) and labels_of(wanted) == labels_of(old))
