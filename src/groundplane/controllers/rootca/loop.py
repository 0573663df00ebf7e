"""pkg/controller/certificates/rootcacertpublisher/publisher.go."""

from __future__ import annotations

from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, annotations_of, is_deleting, name_of
from groundplane.client.resources import CONFIG_MAPS, NAMESPACES
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending

NAME = "kube-root-ca.crt"
NOTE = "kubernetes.io/description"
TEXT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class RootCAPublisher(KeyedController):
    """Keys are namespaces."""

    name = "rootca"
    account = "root-ca-cert-publisher"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        namespaces, maps = self.watch(NAMESPACES), self.watch(CONFIG_MAPS)
        self._namespaces, self._maps = namespaces.cache, maps.cache
        namespaces.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new)))
        maps.add_handler(Handler(update=lambda _, new: self._changed(new), delete=self._changed))

    def _changed(self, each: Object) -> None:
        if name_of(each) == NAME:
            self.queue.add(("", each["metadata"]["namespace"]))

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.by_key(key)
        data = {"ca.crt": self.context.facts.root_ca}
        if namespace is None or is_deleting(namespace) or not data["ca.crt"]:
            return
        old = self._maps.get(NAME, key[1])
        if old is not None and old.get("data") == data and annotations_of(old).get(NOTE):
            return
        meta = {"name": NAME, "namespace": key[1], "annotations": {NOTE: TEXT}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        try:
            if old is None:
                await self.client.config_maps.create(body)
            else:
                notes = {**annotations_of(old), NOTE: TEXT}
                await self.client.config_maps.update(
                    {**old, "metadata": {**old["metadata"], "annotations": notes}, "data": data}
                )
        except ApiError as error:
            if not error.is_already_exists and not error.is_not_found and not is_namespace_ending(error):
                raise
