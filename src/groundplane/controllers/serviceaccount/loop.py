"""pkg/controller/serviceaccount/serviceaccounts_controller.go."""

from __future__ import annotations

from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, is_deleting, name_of
from groundplane.client.resources import NAMESPACES, SERVICE_ACCOUNTS
from groundplane.controllers.runner import Context, KeyedController, is_namespace_ending

NAME = "default"


class ServiceAccountController(KeyedController):
    """Keys are namespaces."""

    name = "serviceaccount"
    account = "service-account-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        namespaces, accounts = self.watch(NAMESPACES), self.watch(SERVICE_ACCOUNTS)
        self._namespaces, self._accounts = namespaces.cache, accounts.cache
        namespaces.add_handler(Handler(add=self.enqueue, update=lambda _, new: self.enqueue(new)))
        accounts.add_handler(Handler(delete=self._gone))

    def _gone(self, account: Object) -> None:
        if name_of(account) == NAME:
            self.queue.add(("", account["metadata"]["namespace"]))

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.by_key(key)
        if namespace is None or is_deleting(namespace) or self._accounts.get(NAME, key[1]) is not None:
            return
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": key[1]}}
        try:
            await self.client.service_accounts.create(body)
        except ApiError as error:
            if not error.is_already_exists and not error.is_not_found and not is_namespace_ending(error):
                raise
