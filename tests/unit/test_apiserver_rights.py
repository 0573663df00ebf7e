"""What a right does not include: creating by changing, choosing by a selector, tokens of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.fakes.machine import Bench, bench

from groundplane.apiserver.access.contract import NO_OPINION, Attributes, Decision, User, Verdict
from groundplane.apiserver.local import LocalTransport
from groundplane.client.contract import APPLY_PATCH, Request, Response

MAPS = "/api/v1/namespaces/default/configmaps"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"


class Allowed:
    """An authorizer of one sentence; `asked` is what it was asked."""

    def __init__(self, allows: Callable[[Attributes], bool]) -> None:
        self._allows = allows
        self.asked: list[Attributes] = []

    def authorize(self, attributes: Attributes) -> Verdict:
        self.asked.append(attributes)
        return Verdict(Decision.ALLOW) if self._allows(attributes) else NO_OPINION


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def ask(
    b: Bench, user: User, method: str, path: str, body: Any = None, content: str = "", **query: str
) -> Response:
    request = Request(method, path, query, body, **({"content_type": content} if content else {}))
    return await LocalTransport(b.transport._desk, user).send(request)


def config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}}


def test_who_may_only_change_things_makes_none() -> None:
    async def work() -> None:
        async with bench() as b:
            await b.ok("POST", MAPS, config("there"))
            b.machine.authorizer = Allowed(lambda a: a.verb in ("patch", "update"))
            jane = User("jane")
            applied = await ask(b, jane, "PATCH", f"{MAPS}/new", config("new"), APPLY_PATCH, fieldManager="m")
            assert applied.status == 403 and 'cannot create resource "configmaps"' in applied.body["message"]
            role = {"metadata": {"name": "r"}, "rules": []}
            assert (
                await ask(b, jane, "PUT", f"{ROLES}/r", role)
            ).status == 403  # PUT of a role creates it upstream, too
            changed = await ask(b, jane, "PATCH", f"{MAPS}/there", config("there"), APPLY_PATCH, fieldManager="m")
            assert changed.status == 200

    run(work())


def test_two_who_apply_what_is_not_there_yet() -> None:
    """The second one changes what the first one has made."""

    async def work() -> None:
        async with bench() as b:

            def apply(manager: str) -> Coroutine[Any, Any, Any]:
                body = {**config("both"), "data": {manager: "1"}}
                return b.ok("PATCH", f"{MAPS}/both", body, APPLY_PATCH, fieldManager=manager)

            create = b.store.create

            async def late(key: str, value: bytes, *, lease: int = 0) -> int:
                await asyncio.sleep(0)  # so that both have looked before one has written
                return await create(key, value, lease=lease)

            b.store.create = late  # type: ignore[method-assign]
            await asyncio.gather(apply("a"), apply("b"))
            assert (await b.ok("GET", f"{MAPS}/both"))["data"] == {"a": "1", "b": "1"}

    run(work())


def test_a_selector_names_nothing_where_nothing_is_selected() -> None:
    """resourceNames restrict no creation and no deletion of collections (kubernetes.io, "Using RBAC")."""

    async def work() -> None:
        async with bench() as b:
            b.machine.authorizer = Allowed(lambda a: a.name == "mine")
            jane, mine = User("jane"), {"fieldSelector": "metadata.name=mine"}
            assert (await ask(b, jane, "POST", MAPS, config("other"), **mine)).status == 403
            assert (await ask(b, jane, "DELETE", MAPS, **mine)).status == 403
            assert (await ask(b, jane, "GET", MAPS, **mine)).status == 200

    run(work())


def test_a_node_gets_tokens_of_its_own_pods_only() -> None:
    async def work() -> None:
        async with bench() as b:
            path = "/api/v1/namespaces/default/serviceaccounts/default/token"
            node = User("system:node:one", groups=("system:nodes",))

            class Issuer:
                def request(self, account: Any, review: Any) -> Any:
                    return review

            b.machine.tokens = Issuer()
            spec = {"nodeName": "one", "containers": [{"name": "c", "image": "x"}]}
            pod = await b.ok("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": spec})
            bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
            unbound = await ask(b, node, "POST", path, {"spec": {"audiences": []}})
            assert unbound.status == 403 and unbound.body["message"].endswith("token not bound to a pod")
            other = User("system:node:two", groups=("system:nodes",))
            assert (
                await ask(b, other, "POST", path, {"spec": {"audiences": [], "boundObjectRef": bound}})
            ).status == 403
            assert (
                await ask(b, node, "POST", path, {"spec": {"audiences": [], "boundObjectRef": bound}})
            ).status == 201

    run(work())
