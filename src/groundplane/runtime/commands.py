"""The command line's table: every verb of runc with its flags, and the way from words to a function in `verbs/`.

What the flags mean to a reader is in `help.py`, which only `--help` and wrong words load.
"""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError, UsageError
from groundplane.runtime import arguments
from groundplane.runtime.arguments import MANY, NUMBER, SWITCH, VALUE, Flags
from groundplane.runtime.report import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundplane.runtime.arguments import Parsed

SPEC_VERSION = "1.2.0"
NAME = "ground-runtime"
DEFAULT_ROOT = "/run/ground-runtime"

GLOBAL_FLAGS = Flags(
    {
        "debug": SWITCH,
        "log": VALUE,
        "log-format": VALUE,
        "root": VALUE,
        "criu": VALUE,
        "systemd-cgroup": SWITCH,
        "rootless": VALUE,
        "version": SWITCH,
        "help": SWITCH,
    },
    {"v": "version", "h": "help"},
)

_PROCESS = {"console-socket": VALUE, "pidfd-socket": VALUE, "pid-file": VALUE, "preserve-fds": NUMBER}
_CREATE = {**_PROCESS, "bundle": VALUE, "no-pivot": SWITCH, "no-new-keyring": SWITCH}
_EXEC = {
    **_PROCESS,
    "cwd": VALUE,
    "env": MANY,
    "tty": SWITCH,
    "user": VALUE,
    "additional-gids": MANY,
    "process": VALUE,
    "detach": SWITCH,
    "process-label": VALUE,
    "apparmor": VALUE,
    "no-new-privs": SWITCH,
    "cap": MANY,
    "cgroup": MANY,
    "ignore-paused": SWITCH,
}
_EXEC_LETTERS = {"e": "env", "t": "tty", "u": "user", "g": "additional-gids", "p": "process", "d": "detach", "c": "cap"}
_CPU = ("cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period", "cpu-rt-runtime", "cpu-idle")
_MEMORY = ("memory", "memory-reservation", "memory-swap", "kernel-memory", "kernel-memory-tcp")
_RDT = ("l3-cache-schema", "mem-bw-schema")
_UPDATE = {
    **dict.fromkeys(("resources", "cpuset-cpus", "cpuset-mems", *_CPU, *_MEMORY, *_RDT), VALUE),
    **dict.fromkeys(("blkio-weight", "pids-limit"), NUMBER),
}
_CRIU = {
    **dict.fromkeys(("image-path", "work-path", "manage-cgroups-mode"), VALUE),
    **dict.fromkeys(("tcp-established", "ext-unix-sk", "shell-job", "lazy-pages", "file-locks", "auto-dedup"), SWITCH),
    "empty-ns": MANY,
}
_CHECKPOINT = {
    **_CRIU,
    **dict.fromkeys(("parent-path", "page-server"), VALUE),
    **dict.fromkeys(("leave-running", "pre-dump"), SWITCH),
    "status-fd": NUMBER,
}
_RESTORE = {
    **_CRIU,
    **dict.fromkeys(("console-socket", "bundle", "pid-file", "lsm-profile", "lsm-mount-context"), VALUE),
    **dict.fromkeys(("detach", "no-subreaper", "no-pivot"), SWITCH),
}


class Verb:
    """A verb's flags and how many words it takes; `mixed`: flags may stand behind words, too."""

    __slots__ = ("fewest", "flags", "mixed", "most")

    def __init__(
        self,
        fewest: int,
        most: int | None,
        kinds: dict[str, str],
        letters: dict[str, str] | None = None,
        *,
        mixed: bool = True,
    ) -> None:
        self.fewest = fewest
        self.most = most
        self.flags = Flags({**kinds, "help": SWITCH}, {**(letters or {}), "h": "help"})
        self.mixed = mixed


VERBS = {
    "checkpoint": Verb(1, 1, _CHECKPOINT),
    "create": Verb(1, 1, _CREATE, {"b": "bundle"}),
    "delete": Verb(1, 1, {"force": SWITCH}, {"f": "force"}),
    "events": Verb(1, 1, {"interval": VALUE, "stats": SWITCH}),
    "exec": Verb(1, None, _EXEC, _EXEC_LETTERS, mixed=False),
    "features": Verb(0, 0, {}),
    "kill": Verb(1, 2, {"all": SWITCH}, {"a": "all"}),
    "list": Verb(0, 0, {"format": VALUE, "quiet": SWITCH}, {"f": "format", "q": "quiet"}),
    "pause": Verb(1, 1, {}),
    "ps": Verb(1, None, {"format": VALUE}, {"f": "format"}, mixed=False),
    "restore": Verb(1, 1, _RESTORE, {"b": "bundle", "d": "detach"}),
    "resume": Verb(1, 1, {}),
    "run": Verb(
        1,
        1,
        {**_CREATE, "detach": SWITCH, "keep": SWITCH, "no-subreaper": SWITCH},
        {"b": "bundle", "d": "detach"},
    ),
    "spec": Verb(0, 0, {"bundle": VALUE, "rootless": SWITCH}, {"b": "bundle"}),
    "start": Verb(1, 1, {}),
    "state": Verb(1, 1, {}),
    "update": Verb(1, 1, _UPDATE, {"r": "resources"}),
}


class Globals:
    """The options in front of the verb."""

    __slots__ = ("log", "root", "rootless", "systemd")

    def __init__(self, root: str, log: Log, *, rootless: bool = False, systemd: bool = False) -> None:
        self.root = root
        self.log = log
        self.rootless = rootless  # cgroups that we may not make are done without, where no limit needs them
        self.systemd = systemd


def run(words: Sequence[str]) -> int:
    """Run one command. Its status: 0, 1 for an error, 255 for one of `exec`, 3 for an unknown verb, or a child's."""
    log = Log()
    try:
        options = arguments.parse(words, GLOBAL_FLAGS)
    except UsageError as error:
        return _misused("", log, error)
    if options.switch("version"):
        from groundplane import __version__

        print(f"{NAME} version {__version__}\nspec: {SPEC_VERSION}")
        return 0
    try:
        log = _log(options)
        return _dispatch(options, log)
    except GroundError as error:
        log.error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def refuse(words: Sequence[str], error: GroundError) -> int:
    """Report an error that came before the command could be run, where the command's own would be reported."""
    try:
        options = arguments.parse(words, GLOBAL_FLAGS)
        log = _log(options)
    except GroundError as problem:
        Log().error(str(problem))
        return 1
    return _fail((options.words or [""])[0], log, error)


def _log(options: Parsed) -> Log:
    """Raises GroundError, in runc's words."""
    form = options.value("log-format", "text")
    log = Log(options.value("log"), form, debug=options.switch("debug"))
    log.open()
    if form not in ("text", "json"):
        raise GroundError(f"invalid log-format: {form}")
    return log


def _dispatch(options: Parsed, log: Log) -> int:
    name, *rest = options.words or ["help"]
    if name in ("help", "h") or options.switch("help"):
        return _help(rest[0] if rest and name in ("help", "h") else "", log)
    verb = VERBS.get(name)
    if verb is None:
        return _help(name, log)
    try:
        given = arguments.parse(rest, verb.flags, mixed=verb.mixed)
    except UsageError as error:
        return _misused(name, log, error)
    if given.switch("help"):
        return _help(name, log)
    if (problem := _miscounted(name, verb, len(given.words))) is not None:
        return _misused(name, log, problem, said=False)
    rootless = rootless_of(options.value("rootless", "auto"))
    systemd = options.switch("systemd-cgroup")
    try:
        return _load(name)(given, Globals(_root(options), log, rootless=rootless, systemd=systemd))
    except UsageError as error:
        return _misused(name, log, error)
    except GroundError as error:
        return _fail(name, log, error)


def _root(options: Parsed) -> str:
    """`--root`; else below $XDG_RUNTIME_DIR for who is not root (XDG base directory specification)."""
    if options.given("root"):
        root = os.path.abspath(options.value("root"))
        if root == "/":
            raise GroundError("Option --root argument should not be set to /")
        return root
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and (os.geteuid() or (_in_user_namespace() and os.environ.get("USER") != "root")):
        root = f"{runtime}/{NAME}"
        os.makedirs(root, 0o700, exist_ok=True)
        os.chmod(root, 0o1700)  # the sticky bit keeps it from being tidied away
        return root
    return DEFAULT_ROOT


def rootless_of(text: str) -> bool:
    """`--rootless`: `auto` (or what is no truth value, as runc reads it) finds out."""
    if text in ("true", "1", "t", "T", "TRUE", "True"):
        return True
    if text in ("false", "0", "f", "F", "FALSE", "False"):
        return False
    return bool(os.geteuid()) or _in_user_namespace()


def _in_user_namespace() -> bool:
    """Whether ids are mapped. user_namespaces(7): the first namespace maps all of them onto themselves."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except FileNotFoundError:
        return False  # a kernel without user namespaces


def _miscounted(name: str, verb: Verb, count: int) -> UsageError | None:
    if verb.fewest == verb.most and count != verb.fewest:
        return UsageError(f'{NAME}: "{name}" requires exactly {verb.fewest} argument(s)')
    if count < verb.fewest:
        return UsageError(f'{NAME}: "{name}" requires a minimum of {verb.fewest} argument(s)')
    if verb.most is not None and count > verb.most:
        return UsageError(f'{NAME}: "{name}" requires a maximum of {verb.most} argument(s)')
    return None


def _misused(name: str, log: Log, error: UsageError, *, said: bool = True) -> int:
    """Wrong words: how it should be on standard output, the sentence in the log; `said`: at the top, too (runc)."""
    from groundplane.runtime import help

    print(f"Incorrect Usage: {error}\n" if said else "Incorrect Usage.\n")
    print(help.of_verb(name) if name else help.of_all(), end="")
    return _fail("", log, error)


def _help(name: str, log: Log) -> int:
    from groundplane.runtime import help

    if name and name not in VERBS:
        log.error(f"No help topic for '{name}'")
        return 3
    print(help.of_verb(name) if name else help.of_all(), end="")
    return 0


def _fail(name: str, log: Log, error: GroundError) -> int:
    """An error is one sentence in the log, and on standard error too where the log is a file (runc)."""
    prefix = {"create": "runc create failed: ", "run": "runc run failed: ", "exec": "exec failed: "}.get(name, "")
    log.error(f"{prefix}{error}")
    if log.to_file:
        print(f"{prefix}{error}", file=sys.stderr)
    return 255 if name == "exec" else 1


def _load(name: str) -> Callable[[Parsed, Globals], int]:
    """The verb's function; spelled out, so that each import can be found by reading."""
    if name == "create":
        from groundplane.runtime.verbs.create import create as verb
    elif name == "start":
        from groundplane.runtime.verbs.start import start as verb
    elif name == "run":
        from groundplane.runtime.verbs.run import run as verb
    elif name == "exec":
        from groundplane.runtime.verbs.exec import exec as verb
    elif name == "state":
        from groundplane.runtime.verbs.state import state as verb
    elif name == "kill":
        from groundplane.runtime.verbs.kill import kill as verb
    elif name == "delete":
        from groundplane.runtime.verbs.delete import delete as verb
    elif name == "list":
        from groundplane.runtime.verbs.list import list_containers as verb
    elif name == "spec":
        from groundplane.runtime.verbs.spec import spec as verb
    else:
        return _load_rare(name)
    return verb


def _load_rare(name: str) -> Callable[[Parsed, Globals], int]:
    if name == "ps":
        from groundplane.runtime.verbs.ps import ps as verb
    elif name == "pause":
        from groundplane.runtime.verbs.pause import pause as verb
    elif name == "resume":
        from groundplane.runtime.verbs.resume import resume as verb
    elif name == "update":
        from groundplane.runtime.verbs.update import update as verb
    elif name == "events":
        from groundplane.runtime.verbs.events import events as verb
    elif name == "features":
        from groundplane.runtime.verbs.features import features as verb
    elif name == "checkpoint":
        from groundplane.runtime.verbs.checkpoint import checkpoint as verb
    else:
        from groundplane.runtime.verbs.restore import restore as verb
    return verb
