"""The mechanism that all controllers share: informers fill a queue, workers take keys from it and reconcile them.

    informer ──handler──► queue ──worker──► reconcile(key)
                            ▲                   │ raised ApiError, ConnectionLost or a bug: again after a back-off
                            └───────────────────┘

A controller is a class with a name, an account and `reconcile`; its constructor asks for informers (`watch`) and puts
keys into `queue` from handlers. `reconcile` compares what is wanted with what the caches show, writes the difference,
and returns; it never waits for the effect of a write: the informer tells of it, which is the next key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object
from groundplane.client.events import Recorder
from groundplane.client.informer import Informer, InformerFactory
from groundplane.client.objects import Key, key_of, object_reference
from groundplane.client.queue import QueueClosed, WorkQueue
from groundplane.client.resources import Resource

_log = Log("controllers")

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What controllers must know about the cluster that no object says."""

    pod_cidr: str = "10.244.0.0/16"
    node_cidr_mask: int = 24
    root_ca: str = ""  # PEM; published into every namespace


Discover = Callable[[], Awaitable[Sequence[Resource]]]
"""All resources that can be listed, watched and deleted, as the API server's discovery shows them now."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every controller is made from. `clients` gives the identity of one of upstream's controller accounts."""

    clients: Callable[[str], Client]
    informers: InformerFactory
    clock: Clock
    facts: ClusterFacts
    discover: Discover


class Controller(Generic[K]):
    """One controller. Subclasses say `name`, `account` and what `reconcile` does."""

    name: ClassVar[str]
    account: ClassVar[str]  # system:serviceaccount:kube-system:ACCOUNT, which upstream's bootstrap roles are bound to
    component: ClassVar[str] = ""  # how events name their source; the account where upstream uses the same word
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        self.context = context
        self.clock = context.clock
        self.client = context.clients(self.account)
        self.recorder = Recorder(self.client, context.clock, self.component or self.account)
        self.queue: WorkQueue[K] = WorkQueue(context.clock, self.name)
        self.informers: list[Informer] = []

    def watch(self, resource: Resource) -> Informer:
        """The shared informer of a resource; workers start once it is synced."""
        informer = self.context.informers.informer(resource)
        self.informers.append(informer)
        return informer

    async def begin(self) -> None:
        """Called once, after the informers are synced and before the first reconcile."""

    async def reconcile(self, key: K) -> None:
        """Bring what `key` names nearer to what is wanted. Raising means: again later."""
        raise NotImplementedError

    async def end(self) -> None:
        """Called once at the end; releases what `begin` took."""

    def tell(self, about: Object, resource: Resource, type: str, reason: str, message: str) -> None:
        """Record an event about an object."""
        self.recorder.event(object_reference(about, resource), type, reason, message)


class KeyedController(Controller[Key]):
    """A controller whose keys are (namespace, name)."""

    def enqueue(self, obj: Object) -> None:
        self.queue.add(key_of(obj))


class Runner:
    """Runs a set of controllers over one set of informers, from `start` to `stop`."""

    def __init__(self, context: Context, kinds: Sequence[type[Controller[Any]]]) -> None:
        self.controllers = [kind(context) for kind in kinds]
        self._informers = context.informers
        self._tasks = Tasks("controllers")

    def start(self) -> None:
        """Start informers and workers; each controller begins when its own informers are synced."""
        self._informers.start()
        for controller in self.controllers:
            self._tasks.start(controller.name, self._run(controller))

    async def _run(self, controller: Controller[Any]) -> None:
        for informer in controller.informers:
            await informer.synced()
        while True:
            try:
                await controller.begin()
                break
            except (ApiError, ConnectionLost) as error:
                _log.warning("controller cannot begin yet", controller=controller.name, error=error)
                await controller.clock.sleep(1)
        for number in range(controller.workers):
            self._tasks.start(f"{controller.name}/{number}", _work(controller))

    async def stop(self) -> None:
        """End all workers and informers. What was being written may or may not have been."""
        await self._tasks.stop()
        for controller in self.controllers:
            await controller.queue.shut_down()
            await controller.recorder.stop()
            await controller.end()
        await self._informers.stop()


async def _work(controller: Controller[Any]) -> None:
    queue = controller.queue
    while True:
        try:
            key = await queue.get()
        except QueueClosed:
            return
        try:
            await controller.reconcile(key)
            queue.forget(key)
        except (ApiError, ConnectionLost) as error:
            expected = isinstance(error, ApiError) and error.code == 409
            (_log.debug if expected else _log.warning)(
                "will reconcile again", controller=controller.name, key=key, error=error
            )
            queue.add_rate_limited(key)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 because a bug met at one key must not end the work on all others
            _log.exception("reconcile failed", controller=controller.name, key=key, error=repr(error))
            queue.add_rate_limited(key)
        finally:
            queue.done(key)


def is_namespace_ending(error: BaseException) -> bool:
    """admission/plugin/namespace/lifecycle: a creation refused with the cause NamespaceTerminating."""
    if not isinstance(error, ApiError):
        return False
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
