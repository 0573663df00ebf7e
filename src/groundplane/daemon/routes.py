"""The platform's own endpoints on the engine's socket: what `ground up`, `status` and `down` ask for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from groundplane import __version__
from groundplane.base.errors import GroundError
from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.daemon.instance import ROLES
from groundplane.daemon.storecare import store_routes
from groundplane.engine.contract import State

if TYPE_CHECKING:
    from groundplane.daemon.platform import Platform


def platform_routes(platform: Platform) -> list[web.RouteDef]:
    """GET /ground/status · POST /ground/roles · POST /ground/down · the store's."""

    async def status(_: web.Request) -> web.Response:
        return _json(describe(platform))

    async def roles(request: web.Request) -> web.Response:
        try:
            wish = loads(await request.read())
            wanted = wish["roles"]
            if unknown := [r for r in wanted if r not in ROLES]:
                return _error(400, f"role {unknown[0]!r} is not known; roles are {', '.join(ROLES)}")
            await platform.add_roles(wanted, wish.get("settings"))
        except (DecodeError, KeyError, TypeError) as error:
            return _error(400, f"roles: {error}")
        except GroundError as error:
            return _error(500, str(error))
        return _json(describe(platform))

    async def down(_: web.Request) -> web.Response:
        try:
            await platform.down()
        except GroundError as error:
            return _error(500, str(error))
        platform.ended.set()
        return _json({"ended": True})

    return [
        web.get("/ground/status", status),
        web.post("/ground/roles", roles),
        web.post("/ground/down", down),
        *store_routes(platform),
    ]


def describe(platform: Platform) -> dict[str, Any]:
    """What `ground status` shows."""
    settings = platform.settings
    server = platform.control_plane.server if platform.control_plane is not None else None
    engine = platform.engine
    infos = engine.containers.list(hidden=True) if engine is not None else []
    node = platform.node_role.node if platform.node_role is not None else None
    return {
        "version": __version__,
        "pid": os.getpid(),
        "root": settings.root,
        "run": settings.run,
        "socket": settings.engine_socket,
        "roles": platform.roles,
        "problem": platform.problem,
        "log": platform.instance.log_file,
        "api": server.url if server is not None else "",
        "kubeconfig": server.kubeconfig if server is not None else "",
        "node": node.place.name if node is not None else "",
        "address": settings.node_ip,
        "ready": node is not None and node.is_ready,
        "containers": sum(1 for i in infos if i.state is State.RUNNING and not i.spec.hidden),
        "pods": node.pod_count if node is not None else 0,
        "images": len(engine.images.list()) if engine is not None else 0,
    }


def _json(document: Any) -> web.Response:
    return web.Response(body=dumps(document), content_type="application/json")


def _error(code: int, message: str) -> web.Response:
    return web.Response(status=code, body=dumps({"message": message}), content_type="application/json")
