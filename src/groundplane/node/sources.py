"""ConfigMaps, Secrets and service account tokens for pods, read from the cluster as the node's own identity.

Answers are kept for a moment, so that thirty pods that start together ask once; tokens are renewed when 80 % of their
life is over or they are a day old (pkg/kubelet/token/token_manager.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from groundplane.base.clock import Clock, parse_rfc3339
from groundplane.client.client import Client, ResourceClient
from groundplane.client.contract import ApiError, Object
from groundplane.node.views import Pod

_KEEP = 1.0  # seconds
_DAY = 86_400.0


class ClusterSources:
    """`env.Sources` and `payload.Tokens` over a client."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[tuple[str, str, str], tuple[float, asyncio.Future[Object | None]]] = {}
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}

    async def config_map(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return await self._get("configmap", self._client.config_maps, namespace, name)

    async def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return await self._get("secret", self._client.secrets, namespace, name)

    def renew(self) -> None:
        """From now on nothing is answered that was asked before."""
        self._kept.clear()

    async def _get(self, kind: str, resource: ResourceClient, namespace: str, name: str) -> Object | None:
        now = self._clock.monotonic()
        key = (kind, namespace, name)
        kept = self._kept.get(key)
        if kept is None or now - kept[0] > _KEEP or (kept[1].done() and kept[1].exception() is not None):
            self._kept = {k: v for k, v in self._kept.items() if now - v[0] <= _KEEP}
            kept = (now, asyncio.ensure_future(self._fetch(resource, namespace, name)))
            self._kept[key] = kept
        found = await asyncio.shield(kept[1])
        if found is None and self._kept.get(key) is kept:
            del self._kept[key]  # what is not there yet may come any moment: ask again
        return found

    async def _fetch(self, resource: ResourceClient, namespace: str, name: str) -> Object | None:
        try:
            return await resource.get(name, namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    async def token(self, pod: Pod, audience: str, seconds: int) -> str:
        """A token bound to the pod, from the cache while it is fresh."""
        meta = pod["metadata"]
        key = (meta["uid"], f"{audience}/{seconds}")
        kept = self._tokens.get(key)
        if kept is not None and self._clock.time() < kept[0]:
            return kept[1]
        spec: dict[str, Any] = {
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        if audience:
            spec["audiences"] = [audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.service_accounts.create(body, meta["namespace"], name=account, subresource="token")
        now = self._clock.time()
        life = parse_rfc3339(answer["status"]["expirationTimestamp"]) - now
        token = str(answer["status"]["token"])
        self._tokens[key] = (now + min(life * 0.8, _DAY), token)
        return token

    def forget(self, uid: str) -> None:
        """Drop the tokens of a pod that is gone."""
        self._tokens = {key: value for key, value in self._tokens.items() if key[0] != uid}
