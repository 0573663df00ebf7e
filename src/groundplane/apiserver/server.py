"""One API server from start to stop: cache, access, admission, delivered objects, the listener, and its upkeep.

start: load the cache ─► access control ─► write what is missing (bootstrap) ─► allocators ─► listen
stop:  end watches ─► close the listener ─► end the feed      (the store is its owner's)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from groundplane.apiserver import delivery
from groundplane.apiserver.access import system
from groundplane.apiserver.access.contract import CertificateSubject, PolicyRule, User
from groundplane.apiserver.access.jws import Key
from groundplane.apiserver.admission import plugins
from groundplane.apiserver.admission.chain import Chain
from groundplane.apiserver.cache.collection import Change
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.chain import Handler
from groundplane.apiserver.discovery.pages import Discovery
from groundplane.apiserver.edge import Desk
from groundplane.apiserver.http import HttpEdge
from groundplane.apiserver.local import LocalTransport
from groundplane.apiserver.machine import CachedObjects, Machine
from groundplane.apiserver.nonresource import Pages
from groundplane.apiserver.openapi.pages import OpenApi
from groundplane.apiserver.services.allocator import ServiceAllocator
from groundplane.apiserver.streams.contract import NodeDialer
from groundplane.apiserver.streams.dialer import TlsDialer
from groundplane.apiserver.upkeep import Upkeep
from groundplane.apiserver.verbs.body import LIMIT
from groundplane.base.clock import Clock, SystemClock
from groundplane.base.log import Log
from groundplane.base.settings import Settings
from groundplane.client import kubeconfig
from groundplane.kinds import pack
from groundplane.serve import listeners, peer, tls
from groundplane.serve.pki import Pki, api_server_names
from groundplane.serve.server import Limits, Server
from groundplane.store.contract import Store

_log = Log("apiserver")
_LOOPBACK = "127.0.0.1"
_GRACE = 2.0  # seconds for requests under way when the server stops; watches are ended before


class ApiServer:
    """A running server. `transport` is the way in for loops of this process."""

    def __init__(self, settings: Settings, machine: Machine, desk: Desk, pki: Pki) -> None:
        self.settings = settings
        self.machine = machine
        self.pki = pki
        self.url = ""
        self.kubeconfig = os.path.join(settings.root, "admin.kubeconfig")
        self._desk = desk
        self._edge: HttpEdge | None = None
        self._http: Server | None = None
        self._upkeep = Upkeep(machine, settings.node_ip or _LOOPBACK)

    def transport(self, user: User, agent: str = "groundplane") -> LocalTransport:
        """A transport that speaks as `user`; `agent` is what managedFields call it."""
        return LocalTransport(self._desk, user, agent)

    def reach_nodes(self, dialer: NodeDialer) -> None:
        """Another way to nodes than over TLS, for logs and exec: the node of this process."""
        self.machine.nodes = dialer

    async def listen(self, host: str, port: int, names: Sequence[str], authenticator: Any) -> None:
        """Serve HTTPS on host:port (0: any free port); `names` are the certificate's. Raises ListenError, TlsError."""
        pair = self.pki.server("apiserver", "kube-apiserver", names)
        context = tls.server_context(pair, self.pki.ca.certificate)
        listener = listeners.tcp(host, port)
        self._edge = HttpEdge(self._desk, authenticator, peer_subject)
        self._http = Server(self._edge, Limits(body=LIMIT))
        await self._http.listen(listener, context)
        self.url = f"https://{_LOOPBACK}:{self._http.addresses[0][1]}"
        _write_kubeconfig(self.kubeconfig, self.url, self.pki)
        self._upkeep.start()

    async def stop(self) -> None:
        """End watches, requests under way (2 s at most) and the listener; idempotent."""
        await self._upkeep.stop()
        if self._edge is not None:
            self._edge.stop()
        if self._http is not None:
            await self._http.stop(_GRACE)
        await self.machine.cache.stop()


async def start(
    settings: Settings,
    store: Store,
    *,
    host: str = "0.0.0.0",
    clock: Clock | None = None,
) -> ApiServer:
    """A server over `store`, listening on `settings.api_port`, with `ROOT/admin.kubeconfig` written.

    Raises ListenError, PkiError, TlsError, StoreError.
    """
    clock = clock or SystemClock()
    os.makedirs(settings.root, exist_ok=True)
    machine = Machine(settings, store, clock)
    await machine.cache.start()
    pki = Pki(os.path.join(settings.root, "pki"))
    access = _access(machine, pki)
    services = machine.services = ServiceAllocator(settings.service_cidr, settings.node_port_range)
    services.restore(s.object for s in machine.below("", "services"))
    if store.shared:
        services.share(store, clock, lambda: [s.object for s in machine.below("", "services")])
    machine.admission = Chain(plugins.default(machine, access.escalation))
    address = settings.node_ip or _LOOPBACK
    await delivery.deliver(machine, address)
    pages = Pages(machine, Discovery(machine.registry, f"{address}:{settings.api_port}"), OpenApi(machine.registry))
    _issuer_pages(pages, access.tokens)
    machine.nodes = TlsDialer(pki)
    server = ApiServer(settings, machine, Desk(machine, Handler(machine, pages)), pki)
    names = api_server_names(os.uname().nodename, settings.node_ip, services.first_ip, settings.cluster_domain)
    try:
        await server.listen(host, settings.api_port, names, access.authenticator)
    except BaseException:
        await server.stop()
        raise
    _log.info(
        "API server ready",
        url=server.url,
        objects=sum(len(e.objects.collection) for e in machine.registry if e.is_kept),
    )
    return server


def _access(machine: Machine, pki: Pki) -> system.Access:
    """Access control over the cache, told of every role, binding and pod."""
    node_role = next(o for o in pack.bootstrap_objects() if o["metadata"]["name"] == "system:node" and o.get("rules"))

    def keys() -> list[Key]:
        pair = pki.service_account_key()
        return [Key.read(_read(pair.key))]

    access = system.assemble(
        CachedObjects(machine),
        machine.clock,
        issuer=f"https://kubernetes.default.svc.{machine.settings.cluster_domain}",
        keys=keys,
        node_rules=[PolicyRule.read(r) for r in node_role["rules"]],
    )
    machine.authorizer, machine.rules = access.authorizer, access.rules
    machine.tokens, machine.reviews = access.tokens, access.reviews

    def follow(change: Change) -> None:
        if change.stored is not None:
            access.put(change.stored.object)
        elif change.previous is not None:
            access.remove(change.previous.object)

    for group, plural in system.FOLLOWED:
        for stored in machine.below(group, plural):
            access.put(stored.object)
        machine.registry.of(group, plural).objects.collection.listen(follow)
    return access


def _issuer_pages(pages: Pages, tokens: Any) -> None:
    """What others need to check our tokens (KEP-1393)."""

    def configuration(call: Call) -> One:
        return One(tokens.discovery(f"https://{call.host}"))

    pages.add("/.well-known/openid-configuration", configuration)
    pages.add("/openid/v1/jwks", lambda call: One(tokens.jwks()))


def peer_subject(request: web.BaseRequest) -> CertificateSubject | None:
    """The client certificate's subject, read once a connection."""
    shown = peer.certificate(request)
    return CertificateSubject(shown.common_name, shown.organizations, shown.sha256) if shown is not None else None


def _write_kubeconfig(path: str, url: str, pki: Pki) -> None:
    """The first administrator's kubeconfig, certificates included, readable by its owner alone."""
    admin = pki.client("admin", "kubernetes-admin", ["system:masters"])
    ca, certificate, key = (_read(f) for f in (pki.ca.certificate, admin.certificate, admin.key))
    kubeconfig.save(path, kubeconfig.Access(url, ca, certificate, key))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
