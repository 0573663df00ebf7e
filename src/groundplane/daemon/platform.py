"""The fuse box: what runs in one groundd, in which order it starts and in which it stops.

start   lock root ─► engine (spawner, images, containers) ─► door (ground.sock) ─► control plane ─► node ─► ready
stop    node ─► control plane ─► door ─► engine                     containers stay; the next groundd finds them
            a role that cannot start (a damaged store, a full disk, a port in use) is tried again; the engine serves on
down    node ─► containers end ─► network gone ─► control plane ─► door ─► engine ─► spawner ends
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

from groundplane.apiserver.streams.dialer import TlsDialer
from groundplane.base.clock import Clock
from groundplane.base.errors import GroundError
from groundplane.base.ids import instance_hash
from groundplane.base.log import Log
from groundplane.base.settings import Settings, check
from groundplane.base.tasks import Tasks
from groundplane.daemon.controlplane import ControlPlane
from groundplane.daemon.instance import ROLES, Instance
from groundplane.daemon.join import Join
from groundplane.daemon.noderole import LocalDialer, NodeRole, kubelet_context
from groundplane.daemon.places import node_address, node_name
from groundplane.daemon.ready import Ready
from groundplane.daemon.routes import platform_routes
from groundplane.daemon.starting import daemon_argv
from groundplane.dataplane import dataplane
from groundplane.dockerapi.server import DockerApi
from groundplane.engine.contract import ContainerInfo, EngineError, State
from groundplane.engine.engine import LocalEngine
from groundplane.engine.networks.pods import PodNetwork
from groundplane.node.volumes.manager import unmount_below
from groundplane.runtime.resident.command import spawner_argv

_log = Log("daemon")
_STOP_SECONDS = 10.0
_RETRY_SECONDS = 30.0
_DOOR_SECONDS = 2.0
_NOBODY = (sys.executable, "-I", "-S", "-c", "")  # ends at once, well: after it the spawner ends too


class Platform:
    """Everything of one groundd. `ended` is set once it is to end."""

    def __init__(self, instance: Instance, clock: Clock, ready: Ready, join: Join | None = None) -> None:
        """With `join` the node belongs to a cluster elsewhere, and nobody restarts this process when it dies."""
        self.instance = instance
        self._join = join
        self.settings: Settings = instance.settings
        self.ended = asyncio.Event()
        self.roles: list[str] = []
        self._clock = clock
        self._ready = ready
        self._changing = asyncio.Lock()
        self._tasks = Tasks("daemon")
        self.problem = ""  # why a role that was chosen does not run
        self._network = PodNetwork(os.path.join(self.settings.root, "networks"), instance_hash(self.settings.root))
        self.engine: LocalEngine | None = None
        self._door: DockerApi | None = None
        self.control_plane: ControlPlane | None = None
        self.node_role: NodeRole | None = None

    async def start(self, roles: Iterable[str]) -> None:
        """Start the engine and its door, then `roles`. Raises GroundError with everything stopped again.

        Where the engine runs and another role does not start, that one is tried again and again: without the engine
        nobody could look, take containers down, or put a backup in the place of a damaged store.
        """
        wanted = [role for role in ROLES if role in roles]
        try:
            await self._step("engine", self._start_engine)
            try:
                await self.add_roles(wanted)
            except (GroundError, OSError) as error:
                if self._join is not None:
                    raise
                self._missing(error)
                self._tasks.start("roles", self._try_again(wanted))
        except BaseException:
            await self.stop()
            raise
        self._ready.ready()
        _log.info("ready", roles=",".join(self.roles), root=self.settings.root)

    async def add_roles(self, roles: Iterable[str], settings: dict[str, Any] | None = None) -> None:
        """Start what is not running yet of `roles`, and remember them. One change at a time."""
        async with self._changing:
            wanted = [role for role in ROLES if role in roles or role in self.roles]
            before = self.settings
            try:
                if settings:
                    self._change_settings(settings)
                await self._start_roles(wanted)
            except BaseException:
                if self.control_plane is None and self.node_role is None:  # what did not work is not asked for again
                    self.settings = self.instance.settings = before
                raise
            self.problem = ""
            # A node of a cluster elsewhere is its caller's to start again; what it was told is needed to take it down.
            self.instance.save(tuple(wanted) if self._join is None else ("engine",))

    async def _start_roles(self, wanted: list[str]) -> None:
        try:
            if "control-plane" in wanted or "node" in wanted:
                self.settings = replace(self.settings, node_ip=node_address(self.settings))
            if "control-plane" in wanted and self.control_plane is None:
                await self._step("control plane", self._start_control_plane)
            if "node" in wanted and self.node_role is None:
                await self._step("node", self._start_node)
        except GroundError as error:
            self.problem = str(error)  # `ground status` shows it
            raise

    def _missing(self, error: GroundError | OSError) -> None:
        self.problem = str(error)
        _log.error("a role did not start", error=self.problem)

    async def _try_again(self, roles: list[str]) -> None:
        pause = 1.0
        while self.problem:
            await self._clock.sleep(pause)
            pause = min(2 * pause, _RETRY_SECONDS)
            try:
                await self.add_roles(roles)
            except (GroundError, OSError) as error:
                self._missing(error)

    def _change_settings(self, settings: dict[str, Any]) -> None:
        changed = {k: v for k, v in settings.items() if asdict(self.settings).get(k) != v}
        if changed and (self.control_plane is not None or self.node_role is not None):
            names = ", ".join(sorted(changed))
            raise GroundError(f"{names} cannot change while the cluster runs; run `ground down` first")
        self.settings = self.instance.settings = check(replace(self.settings, **changed))

    async def _step(self, words: str, work: Callable[[], Awaitable[None]]) -> None:
        started = self._clock.monotonic()
        self._ready.step(words)
        await work()
        if words not in self.roles:
            self.roles.append(words.replace(" ", "-"))
        _log.info(f"{words} started", seconds=round(self._clock.monotonic() - started, 3))

    async def _start_engine(self) -> None:
        argv = spawner_argv(self.settings.run, daemon_argv(self.settings) if self._join is None else _NOBODY)
        self.engine = LocalEngine(self.settings, argv, network=self._network)
        await self.engine.start()
        await self._network.sweep([s.id for s in self.engine.sandboxes.list()])
        self._door = DockerApi(self.engine, self.settings, platform_routes(self))
        await self._door.start(self.settings.engine_socket)
        self._tasks.start("door", self._keep_door(self._door))

    async def _keep_door(self, door: DockerApi) -> None:
        while True:
            await self._clock.sleep(_DOOR_SECONDS)
            try:
                await door.keep()
            except OSError as error:  # the directory cannot be made at the moment, perhaps
                _log.warning("nobody can reach the engine", socket=self.settings.engine_socket, error=str(error))

    async def _start_control_plane(self) -> None:
        self.control_plane = ControlPlane(self.settings, self._clock)
        try:
            await self.control_plane.start()
        except BaseException:
            self.control_plane = None
            raise

    async def _start_node(self) -> None:
        assert self.engine is not None, "the engine is started first"
        name = node_name(self.settings)
        role = NodeRole(self.settings, name, self.engine, self._network, self._clock)
        if self._join is not None:
            await role.start(self._join.clients, self._join.kubelet_context(self.settings, name))
        elif self.control_plane is not None and self.control_plane.server is not None:
            pki = self.control_plane.server.pki
            self.control_plane.server.reach_nodes(LocalDialer(role, name, TlsDialer(pki)))
            await role.start(self.control_plane.clients, kubelet_context(pki, name, self.settings.node_ip))
        else:
            raise GroundError("the node role needs a control plane; add the role control-plane, or use `ground node`")
        self.node_role = role

    async def stop(self) -> None:
        """End this process's part in the right order; containers, their network and the spawner go on."""
        await self._tasks.stop()
        if self.node_role is not None:
            await self.node_role.stop()
        if self.control_plane is not None:
            await self.control_plane.stop()
        if self._door is not None:
            await self._door.stop()
        if self.engine is not None:
            await self.engine.close()
        await self._network.close()

    async def down(self) -> None:
        """End every container and take the network down; state, images and volumes stay in the root."""
        assert self._door is not None, "asked for through the door"
        await self._tasks.stop()
        async with self._changing:
            await self._door.gate.shut()
            try:
                await self._down()
            except BaseException:
                self._door.gate.open()
                raise

    async def _down(self) -> None:
        if self.node_role is not None:
            await self.node_role.stop()
        await self._end_containers()
        if self.node_role is not None:
            await self.node_role.teardown()
        elif "node" in self.instance.roles():  # one that does not start now may have run before
            await dataplane.teardown(dataplane.Config.of(self.settings))
        unmount_below(os.path.join(self.settings.root, "node", "pods"))
        await self._network.teardown()
        try:  # who looks at containers or takes down once more does not bring the cluster back: `ground up` does
            self.instance.save(("engine",))
        except GroundError as error:  # everything has ended, also where the disk is full
            _log.warning("the next daemon will start all roles", error=str(error))

    async def _end_containers(self) -> None:
        """Stop all together. They stay as exited, with logs and exit codes, as after a host's end; sandboxes go."""
        engine = self.engine
        assert engine is not None, "the engine is started first"

        async def end(info: ContainerInfo) -> None:
            try:
                await engine.containers.stop(info.id, min(info.spec.stop_timeout, _STOP_SECONDS))
            except EngineError as error:
                _log.warning("container not ended", id=info.id[:12], error=str(error))

        infos = engine.containers.list(hidden=True)
        await asyncio.gather(*(end(info) for info in infos if info.state is State.RUNNING))
        await asyncio.gather(*(engine.sandboxes.remove(sandbox.id) for sandbox in engine.sandboxes.list()))
