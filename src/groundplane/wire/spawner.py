"""What the engine, the spawner and the supervisors say to each other: values to bytes and back, strictly.

Every conversation runs over SOCK_SEQPACKET unix sockets, so one datagram is one message and nothing here waits for the
rest of a frame. A message is its kind (one byte) and its fields in order: `int` as 8 bytes, signed, big-endian; `bool`
as one byte, 0 or 1; `str` (UTF-8) and `bytes` after their length in 4 bytes; a list of strings after its count in 4.
Descriptors travel beside the bytes (SCM_RIGHTS, unix(7)); what each is, in order, stands in the message's docstring.

    engine                      spawner                       supervisor                      container
      | Hello ------------------> |                                |                              |
      | <------------------ Hello |                                |                              |
      |                           |                                |                              |
      | Spawn + control --------> | fork ------------------------> |                              |
      |                           |                                | and its launcher:            |
      |                           |                                | clone, namespaces, mounts -->|
      |                           | <----- Deposit(pid) + streams  |                              |
      |                           |                                | execve --------------------->|
      | <------------------------------------ Started, or Failed   |                              |
      |                           |                                |                              |
      | Attach, Input, InputEnd, Resize -------------------------> | <------- stdin, stdout ----> |
      | <---------------------------------------------- Output …   |                              |
      |                           |                                |                            exit
      | <------------------------------------------------ Exited   |
      |                           | <------------------------ Done | cgroup removed, end of process
      |
      | Exec + control, … ------> | fork -----> agent: Started, Exited (or Failed) on its control socket
      | Pin + control ----------> | fork -----> agent: Pinned (or Failed)

A supervisor listens on its own socket too: a new engine connects and is told Started (and Exited) at once; a new
spawner says Adopt and receives the Deposit again. If a supervisor dies, the spawner forks another over the same
streams and tells it Reaped once it has the container's exit status.

Imported by the spawner and supervisors, so by the cost of memory per container: no dataclasses, no typing (4 MB).
"""

from __future__ import annotations

from struct import Struct

from groundplane.base.errors import GroundError

TYPE_CHECKING = False  # `typing` costs memory in every supervisor; checkers take any variable of this name for true
if TYPE_CHECKING:
    from typing import Any, ClassVar, dataclass_transform
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


VERSION = 1
MAX_MESSAGE = 128 * 1024  # below Linux' default socket buffer (net.core.wmem_default, 208 KiB)
MAX_CHUNK = 32 * 1024  # of Output and Input
UNKNOWN = -1  # an exit code that nobody could learn

_INT = Struct(">q")
_LENGTH = Struct(">I")


class SpawnerProtocolError(GroundError):
    """The bytes are not a message of this protocol; the connection that sent them is closed."""


@dataclass_transform()
class Message:
    """One message: a subclass's annotations are its fields, in the order of the bytes."""

    kind: ClassVar[int]
    _fields: ClassVar[tuple[tuple[str, str], ...]]

    def __init_subclass__(cls, kind: int, **options: Any) -> None:
        super().__init_subclass__(**options)
        if kind in _KINDS:
            raise TypeError(f"message kind {kind} is taken by {_KINDS[kind].__name__}")
        cls.kind = kind
        cls._fields = tuple(cls.__annotations__.items())  # own ones only, since Python 3.10
        _KINDS[kind] = cls

    if not TYPE_CHECKING:

        def __init__(self, *values, **named):
            for (name, _), value in zip(self._fields, values, strict=False):
                setattr(self, name, value)
            for name, value in named.items():
                setattr(self, name, value)
            if missing := [name for name, _ in self._fields if name not in self.__dict__]:
                raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
            if len(self.__dict__) != len(self._fields):
                raise TypeError(f"{type(self).__name__} has only {', '.join(name for name, _ in self._fields)}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self.__dict__.values())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


_KINDS: dict[int, type[Message]] = {}


class Hello(Message, kind=1):
    """Both ways, first on a connection between engine and spawner: who speaks, and which version of this protocol."""

    version: int
    pid: int


class Spawn(Message, kind=2):
    """Engine → spawner: start a container under a supervisor. Descriptors: control, then one per attached client.

    Kept in the container's run directory while it runs, so that another supervisor can take over.
    """

    id: str
    run_dir: str  # the bundle: config.json is there; the supervisor's socket and FIFOs are made in it
    log_path: str
    exit_path: str  # where the end is written
    cgroup: str  # below each hierarchy's root
    terminal: bool
    stdin: bool
    uid: int  # on the host: owner of the FIFOs, else the container could not reopen /dev/stdout
    gid: int
    log_max_bytes: int
    log_files: int
    sync: bool  # fsync the exit file: false where the container is removed at its end anyway


class Exec(Message, kind=3):
    """Engine → spawner: a process beside a container's init.

    Descriptors: control; a memfd with the JSON document {process, seccomp}; then, without a terminal, stdin, stdout
    and stderr. `stdio` says which of the three were given; the others are /dev/null.
    """

    id: str
    pid: int
    ticks: int  # of that pid: a reused one is refused
    cgroup: str
    terminal: bool
    stdio: str  # of "0", "1", "2": "012", "12", …


class Pin(Message, kind=4):
    """Engine → spawner: make namespaces and bind them to files of these names in `directory`. Descriptor: control.

    The first process of a new PID namespace is named there in `holder`, as `<pid> <start ticks>`.
    """

    directory: str
    namespaces: list[str]  # net, ipc, uts, pid
    hostname: str
    sysctls: list[str]  # name=value, applied inside


class Started(Message, kind=5):
    """Supervisor or agent → engine: the program runs. `ticks` is its start time (field 22 of /proc/PID/stat).

    `at` is in nanoseconds; `warnings` are sentences about what this host could not grant. Descriptor, from an agent
    with a terminal: the terminal's master side.
    """

    pid: int
    ticks: int
    at: int
    warnings: list[str]


class Failed(Message, kind=6):
    """Supervisor or agent → engine: nothing was started and nothing is left. `code` is the shell's: 126, 127, or 1."""

    code: int
    message: str


class Exited(Message, kind=7):
    """Supervisor or agent → engine: the end, already durable. `code` 0-255, or UNKNOWN; `at` in nanoseconds."""

    code: int
    oom: bool
    at: int


class Attach(Message, kind=8):
    """Engine → supervisor: from now on send Output on this connection."""


class Output(Message, kind=9):
    """Supervisor → engine: what the container wrote to `stream` (1, 2; a terminal's is 1)."""

    stream: int
    data: bytes


class Input(Message, kind=10):
    """Engine → supervisor: for the container's standard input."""

    data: bytes


class InputEnd(Message, kind=11):
    """Engine → supervisor: end of standard input (a terminal has none, so there it is ignored)."""


class Resize(Message, kind=12):
    """Engine → supervisor: the terminal's new size."""

    rows: int
    columns: int


class Adopt(Message, kind=13):
    """Spawner → supervisor: this connection is now the one to your spawner."""


class Deposit(Message, kind=14):
    """Supervisor → spawner: keep duplicates of these descriptors (`names`, in order) in place of the former ones."""

    pid: int
    ticks: int
    names: list[str]  # stdout, stderr, stdin, terminal


class Reaped(Message, kind=15):
    """Spawner → supervisor: your container's exit status came to me."""

    code: int


class Done(Message, kind=16):
    """To the spawner: do not replace me. A supervisor has cleared up; the engine ends because it was asked to."""


class Pinned(Message, kind=17):
    """Agent → engine: the namespaces are pinned."""


class Resume(Message, kind=18):
    """Spawner → zygote: a supervisor in place of a dead one. Descriptors: its socket to us, then those of `names`."""

    order: bytes  # the container's Spawn
    names: list[str]
    code: int  # its exit code where we have learnt it, else UNKNOWN


def encode(message: Message) -> bytes:
    """The bytes of one datagram. Raises SpawnerProtocolError if it would be too large to send."""
    parts = [bytes((message.kind,))]
    for name, type_ in message._fields:
        parts.append(_WRITERS[type_](getattr(message, name)))
    data = b"".join(parts)
    if len(data) > MAX_MESSAGE:
        raise SpawnerProtocolError(f"{type(message).__name__} of {len(data)} bytes: at most {MAX_MESSAGE} can be sent")
    return data


def decode(data: bytes) -> Message:
    """The message in one datagram. Raises SpawnerProtocolError for anything else, also for bytes left over."""
    if not data:
        raise SpawnerProtocolError("an empty spawner message")
    if len(data) > MAX_MESSAGE:
        raise SpawnerProtocolError(f"a spawner message of {len(data)} bytes; at most {MAX_MESSAGE} are allowed")
    if (cls := _KINDS.get(data[0])) is None:
        raise SpawnerProtocolError(f"unknown kind {data[0]} of spawner message: the other side is another version")
    values = []
    at = 1
    try:
        for _, type_ in cls._fields:
            value, at = _READERS[type_](data, at)
            values.append(value)
    except (ValueError, UnicodeDecodeError) as error:
        raise SpawnerProtocolError(f"spawner message {cls.__name__}: {error}") from error
    if at != len(data):
        raise SpawnerProtocolError(f"spawner message {cls.__name__}: {len(data) - at} bytes too many")
    return cls(*values)


def _write_blob(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _write_list(values: list[str]) -> bytes:
    return _LENGTH.pack(len(values)) + b"".join(_write_blob(v.encode()) for v in values)


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise ValueError("cut short")
    return data[at : at + length], at + length


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    chunk, at = _take(data, at, 8)
    return _INT.unpack(chunk)[0], at


def _read_bool(data: bytes, at: int) -> tuple[bool, int]:
    chunk, at = _take(data, at, 1)
    if chunk[0] > 1:
        raise ValueError(f"{chunk[0]} is no boolean")
    return chunk[0] == 1, at


def _read_blob(data: bytes, at: int) -> tuple[bytes, int]:
    chunk, at = _take(data, at, 4)
    return _take(data, at, _LENGTH.unpack(chunk)[0])


def _read_str(data: bytes, at: int) -> tuple[str, int]:
    chunk, at = _read_blob(data, at)
    return chunk.decode(), at


def _read_list(data: bytes, at: int) -> tuple[list[str], int]:
    chunk, at = _take(data, at, 4)
    values = []
    for _ in range(_LENGTH.unpack(chunk)[0]):
        value, at = _read_str(data, at)
        values.append(value)
    return values, at


_WRITERS: dict[str, Any] = {
    "int": _INT.pack,
    "bool": lambda value: b"\1" if value else b"\0",
    "str": lambda value: _write_blob(value.encode()),
    "bytes": _write_blob,
    "list[str]": _write_list,
}
_READERS: dict[str, Any] = {
    "int": _read_int,
    "bool": _read_bool,
    "str": _read_str,
    "bytes": _read_blob,
    "list[str]": _read_list,
}
