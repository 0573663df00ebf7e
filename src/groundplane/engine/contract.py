"""The engine's contract: what the node agent and the Docker door may ask of the one owner of this host's containers.

Vocabulary
    *Image*: a manifest's config and layers in the content-addressed store, found by name, digest or id.
    *Sandbox*: what the containers of a pod share: pinned network, IPC and UTS namespaces, an address, a cgroup.
    *Container*: a specification, a writable snapshot over an image, a process under a supervisor, and a log.
    *State*: created → running → exited (→ running again through `start`, Docker's restart) → removed.

Rules
    Everything asked for is durable before it is answered: a container is found again after `kill -9` of anything.
    `create` makes nothing half: on an error all it made is gone. All calls are idempotent in the direction of their
    goal where Docker's are (stop of a stopped container is success).
    Errors: EngineError's subclasses below; messages are Docker's where Docker has one.
    The containers of pods carry `hidden=True` and are left out of plain listings.

Used from one event loop. The node agent's worker calls, in this order: `sandboxes.create`, then per container
`containers.create`, `containers.start`, watches `events()`, `containers.stop`, `containers.remove`, `sandboxes.remove`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from groundplane.base.errors import ConflictError, GroundError, NotFoundError


class EngineError(GroundError):
    """The engine could not do what was asked."""


class NoSuchImage(EngineError, NotFoundError):
    """No image has this name, digest or id here."""


class NoSuchContainer(EngineError, NotFoundError):
    """No container or sandbox has this id or name."""


class BadParameter(EngineError):
    """The request itself is wrong (Docker's 400)."""


class Conflicting(EngineError, ConflictError):
    """A name in use, or a state that forbids the call (Docker's 409)."""


class State(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a container. `type` is bind, tmpfs or any file system; bind sources are absolute host paths."""

    destination: str
    source: str = ""
    type: str = "bind"
    read_only: bool = False
    propagation: str = "rprivate"  # rprivate, rslave, rshared
    options: tuple[str, ...] = ()  # further mount options, as mount(8) names them (size=64m, mode=1777, noexec)


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; 0 or None means unlimited. CPU in the kernel's own units, memory in bytes."""

    cpu_shares: int = 0  # cgroup v1 cpu.shares, 2..262144; converted to cpu.weight on v2 as runc does
    cpu_quota: int = 0  # microseconds per period
    cpu_period: int = 0
    memory: int = 0
    pids: int = 0
    cpuset_cpus: str = ""
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """Who the process is and what it may do. Defaults are Docker's."""

    user: str = ""  # uid, uid:gid, name, name:group as in an image's User; empty: the image's
    groups: tuple[int, ...] = ()  # supplementary, beside those of the image's /etc/group
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    read_only_root: bool = False
    seccomp: str | None = None  # None: Docker's default profile; "unconfined"; or a profile's JSON text
    masked_paths: tuple[str, ...] | None = None  # None: Docker's list
    read_only_paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What to create. Empty command and args mean the image's, with Docker's rules for which replaces which."""

    image: str
    name: str = ""  # empty: one is generated
    entrypoint: Sequence[str] | None = None  # pod `command`; None: the image's Entrypoint (and then its Cmd)
    args: Sequence[str] | None = None  # pod `args`, docker's COMMAND; None: the image's Cmd unless entrypoint is given
    env: Mapping[str, str] = field(default_factory=dict)  # over the image's
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    resources: Resources = Resources()
    security: Security = Security()
    hostname: str = ""
    network: str = "none"  # none, host, or sandbox:ID
    pid_mode: str = "private"  # private, host, or sandbox:ID (where the sandbox shares its PID namespace)
    ipc_mode: str = "private"  # private, host, or sandbox:ID
    tty: bool = False
    stdin_open: bool = False
    stop_signal: str = ""  # empty: the image's, then SIGTERM
    stop_timeout: int = 10
    auto_remove: bool = False
    log_path: str = ""  # empty: below the engine's root; the node gives /var/log/pods/… paths
    cgroup_parent: str = (
        ""  # relative to the instance's own cgroup; empty: `containers`; pods: `pods/burstable/pod<uid>`
    )
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name → (soft, hard)
    devices: Sequence[str] = ()  # host device nodes to pass through, `path[:path_in_container[:rwm]]`
    shm_size: int = 64 << 20
    init: bool = False
    hidden: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    docker: Mapping[str, Any] = field(
        default_factory=dict
    )  # the Docker door's own request, kept to be shown by inspect


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """One container as it is now. Times are nanoseconds since the epoch, 0 where they have not happened."""

    id: str
    spec: ContainerSpec
    image_id: str
    state: State
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    pid: int = 0  # of the container's init on the host while it runs
    exit_code: int | None = None  # 0-255, 128 + signal; None where unknown (both parents died, old kernel)
    oom_killed: bool = False
    error: str = ""  # why the process could not be started, as Docker words it
    log_path: str = ""
    restart_count: int = 0
    rootfs: str = ""  # the merged root while it is mounted
    argv: Sequence[str] = ()  # the resolved command line


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """A change of one container: `action` is create, start, die, oom, destroy, or exec_die."""

    action: str
    id: str
    at: int
    labels: Mapping[str, str]
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's shared part. `network` is host, none, or pod (an address from this node's pod range)."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    network: str = "pod"
    host_ipc: bool = False
    share_pid: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""  # made with `resources` before the first container; empty: none of its own
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    id: str
    spec: SandboxSpec
    created_at: int
    address: str  # IPv4 without mask; empty for host and none
    netns: str  # path of the pinned network namespace; empty for host


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A process beside a container's init. User, env and directory default to the container's own."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    privileged: bool = False


class Streams(Protocol):
    """A live process's standard streams: of an exec, or of an attached container."""

    async def write(self, data: bytes) -> None:
        """To standard input; waits while the process does not read."""
        ...

    async def close_stdin(self) -> None: ...

    async def read(self) -> tuple[int, bytes] | None:
        """The next chunk as (1 stdout | 2 stderr, bytes); None once both have ended. A terminal's output is 1."""
        ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def wait(self) -> int:
        """The exit code, 0-255 (128 + signal)."""
        ...

    async def kill(self) -> None:
        """End the process (exec) or detach (attach); idempotent."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a container's log: nanoseconds, stream (stdout, stderr), bytes with their newline if any."""

    at: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """`config` is the OCI image configuration document; `id` is `sha256:…` of it; sizes in bytes."""

    id: str
    names: Sequence[str]
    config: Mapping[str, Any]
    size: int
    created_at: int
    digest: str = ""  # of the manifest


class Images(Protocol):
    def resolve(self, name: str) -> ImageInfo:
        """By `name[:tag][@digest]` with Docker's short-name rules, by id, or by unique id prefix; or NoSuchImage."""
        ...

    async def remove(self, name: str, *, force: bool = False) -> list[str]:
        """Docker's answer lines (`Untagged: …`, `Deleted: …`). Raises NoSuchImage, Conflicting (in use)."""
        ...

    def list(self) -> list[ImageInfo]: ...


class Containers(Protocol):
    async def create(self, spec: ContainerSpec) -> str:
        """Its id. Raises NoSuchImage, BadParameter, Conflicting (name in use)."""
        ...

    async def start(self, id: str) -> None:
        """Raises EngineError with the reason (`… executable file not found in $PATH`).

        The state is then EXITED and the code 127, 126 or 128, as Docker gives them.
        """
        ...

    async def stop(self, id: str, timeout: float | None = None, signal: str = "") -> None:
        """The signal, then SIGKILL after `timeout` seconds (of both, empty and None mean the container's own).

        Returns once it has ended.
        """
        ...

    async def restart(self, id: str, timeout: float | None = None, signal: str = "") -> None:
        """`stop` and `start` as one: nobody removes it in between, auto-removal neither. Raises as `start`."""
        ...

    async def kill(self, id: str, signal: str = "SIGKILL") -> None: ...

    async def wait(self, id: str) -> int:
        """The exit code once the container is not running (-1 where unknown)."""
        ...

    async def remove(self, id: str, *, force: bool = False) -> None:
        """With its log, snapshot and cgroup. Raises Conflicting where it runs and `force` is false."""
        ...

    def get(self, id: str) -> ContainerInfo:
        """By id, unique id prefix, or name. Raises NoSuchContainer."""
        ...

    def list(self, *, hidden: bool = False) -> list[ContainerInfo]: ...

    async def exec(self, id: str, spec: ExecSpec) -> Streams: ...

    async def attach(self, id: str) -> Streams: ...

    def logs(
        self, id: str, *, follow: bool = False, tail: int | None = None, since: int = 0, until: int = 0
    ) -> AsyncIterator[LogLine]:
        """Lines of the log across its rotated files; `since`, `until` in nanoseconds.

        With `follow`, ends after the container does.
        """
        ...

    def stats(self, id: str) -> Mapping[str, int]:
        """`cpu_ns`, `memory` (usage less inactive file), `pids` of the container's cgroup."""
        ...

    async def update(self, id: str, resources: Resources) -> None: ...


class Sandboxes(Protocol):
    async def create(self, spec: SandboxSpec) -> SandboxInfo: ...

    async def remove(self, id: str) -> None:
        """With its address, links, pins and cgroup; its containers must be gone. Idempotent."""
        ...

    def get(self, id: str) -> SandboxInfo: ...

    def list(self) -> list[SandboxInfo]: ...


class Engine(Protocol):
    """One instance's engine. Started and closed by `daemon`; closing leaves all containers running."""

    images: Images
    containers: Containers
    sandboxes: Sandboxes

    def events(self) -> AsyncIterator[EngineEvent]:
        """From now on, without loss while the iterator is open (bounded queue of 10,000; then EngineError)."""
        ...
