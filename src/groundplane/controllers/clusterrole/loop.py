"""The cluster role aggregation controller."""

from __future__ import annotations

from groundplane.client.contract import Object
from groundplane.client.informer import Handler
from groundplane.client.objects import Key, name_of
from groundplane.client.resources import CLUSTER_ROLES
from groundplane.controllers.clusterrole.plan import aggregated
from groundplane.controllers.runner import Context, KeyedController


class ClusterRoleAggregationController(KeyedController):
    """Keys are cluster roles with an aggregation rule."""

    name = "clusterrole-aggregation"
    account = "clusterrole-aggregation-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        roles = self.watch(CLUSTER_ROLES)
        self._roles = roles.cache
        roles.add_handler(Handler(add=self._any, update=lambda _, new: self._any(new), delete=self._any))

    def _any(self, _: Object) -> None:
        """A change of one role can concern every aggregated one; there are few."""
        for role in self._roles:
            if role.get("aggregationRule"):
                self.enqueue(role)

    async def reconcile(self, key: Key) -> None:
        role = self._roles.by_key(key)
        if role is None or not role.get("aggregationRule"):
            return
        rules = aggregated(role, self._roles.list())
        if rules == (role.get("rules") or []):
            return
        body = {
            "apiVersion": CLUSTER_ROLES.api_version,
            "kind": CLUSTER_ROLES.kind,
            "metadata": {"name": name_of(role)},
            "rules": rules,
        }
        await self.client.of(CLUSTER_ROLES).apply(body, field_manager=self.account, force=True)
