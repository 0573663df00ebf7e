"""The application: the table of routes, under every version prefix, with errors as Docker's documents."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from groundplane.base.clock import Clock, SystemClock
from groundplane.base.settings import Settings
from groundplane.base.tasks import Tasks
from groundplane.dockerapi import attach, containers, execs, images, measures, system
from groundplane.dockerapi.door import DOOR, Door, DoorEngine
from groundplane.dockerapi.errors import answer, errors_as_json
from groundplane.dockerapi.gate import Gate
from groundplane.dockerapi.refused import REFUSED
from groundplane.dockerapi.whole import finish_whole, prepare_whole, whole

_MAX_BODY = 16 << 20
_VERSION = r"/v{version:1\.\d{1,4}}"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/_ping", system.ping),
    ("HEAD", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("GET", "/events", system.events),
    ("GET", "/networks", system.networks),
    ("GET", "/networks/{id}", system.network),
    ("GET", "/volumes", system.volumes),
    ("GET", "/volumes/{name}", system.volume),
    ("GET", "/plugins/{name:.+}/json", system.plugin),
    ("GET", "/containers/json", containers.list_containers),
    ("POST", "/containers/create", containers.create),
    ("GET", "/containers/{id}/json", containers.inspect),
    ("POST", "/containers/{id}/start", containers.start),
    ("POST", "/containers/{id}/stop", containers.stop),
    ("POST", "/containers/{id}/restart", containers.restart),
    ("POST", "/containers/{id}/kill", containers.kill),
    ("POST", "/containers/{id}/wait", containers.wait),
    ("POST", "/containers/{id}/update", containers.update),
    ("DELETE", "/containers/{id}", containers.remove),
    ("GET", "/containers/{id}/logs", attach.logs),
    ("POST", "/containers/{id}/attach", attach.attach),
    ("POST", "/containers/{id}/resize", attach.resize),
    ("GET", "/containers/{id}/top", measures.top),
    ("GET", "/containers/{id}/stats", measures.stats),
    ("POST", "/containers/{id}/exec", execs.create),
    ("POST", "/exec/{id}/start", execs.start),
    ("POST", "/exec/{id}/resize", execs.resize),
    ("GET", "/exec/{id}/json", execs.inspect),
    ("GET", "/images/json", images.list_images),
    ("GET", "/images/{name:.+}/json", images.inspect),
    ("GET", "/images/{name:.+}/history", images.history),
    ("POST", "/images/{name:.+}/tag", images.tag),
    ("DELETE", "/images/{name:.+}", images.remove),
    ("POST", "/ground/images/from-host", images.from_host),
)


# Handlers that wait for something that may never come: they end with their client, who is all that they serve.
_LASTING = frozenset(
    {system.events, containers.wait, attach.logs, attach.attach, measures.stats, execs.start},
)

_BEGINNINGS = frozenset({containers.create, containers.start, containers.restart})


def make_app(
    engine: DoorEngine,
    settings: Settings,
    routes: Sequence[web.RouteDef] = (),
    clock: Clock | None = None,
    gate: Gate | None = None,
) -> web.Application:
    """The API over an engine, with further routes of the platform below /ground/; `gate` is who begins containers'."""
    gate = gate or Gate()
    app = web.Application(middlewares=[errors_as_json], client_max_size=_MAX_BODY)
    prepare_whole(app)
    tasks = Tasks("dockerapi")
    app[DOOR] = Door(engine, settings, clock or SystemClock(), tasks)
    for method, path, handler in ROUTES:
        if handler in _BEGINNINGS:
            _add(app, method, path, whole(gate.guard(handler)))
        else:
            _add(app, method, path, handler if handler in _LASTING else whole(handler))
    for method, path, sentence in REFUSED:
        _add(app, method, path, _refusal(sentence))

    app.router.add_routes(routes)

    async def stop(_: web.Application) -> None:
        await finish_whole(app)
        await tasks.stop()

    app.on_cleanup.append(stop)
    return app


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    for prefix in ("", _VERSION):
        app.router.add_route(method, prefix + path, handler)


def _refusal(sentence: str) -> Handler:
    async def refuse(request: web.Request) -> web.Response:
        return answer(501, sentence)

    return refuse
