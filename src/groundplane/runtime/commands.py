"""The command line's table: every verb with its flags, and the way from words to a verb's function below `verbs/`."""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError, UsageError
from groundplane.runtime import arguments
from groundplane.runtime.arguments import MANY, SWITCH, VALUE, Flags
from groundplane.runtime.report import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundplane.runtime.arguments import Parsed

SPEC_VERSION = "1.2.0"
NAME = "ground-runtime"
DEFAULT_ROOT = "/run/ground-runtime"

_GLOBAL_FLAGS = Flags(
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

_PROCESS_FLAGS = {
    "console-socket": VALUE,
    "pid-file": VALUE,
    "preserve-fds": VALUE,
}
_CREATE_FLAGS = {**_PROCESS_FLAGS, "bundle": VALUE, "no-pivot": SWITCH, "no-new-keyring": SWITCH}


class Verb:
    """A verb's module below `verbs/`, its flags, how many words it takes, and its line in the help."""

    __slots__ = ("fewest", "flags", "help", "most", "usage")

    def __init__(self, usage: str, help: str, flags: Flags, fewest: int, most: int | None) -> None:
        self.usage = usage
        self.help = help
        self.flags = flags
        self.fewest = fewest
        self.most = most


_ID = "<container-id>"
VERBS = {
    "create": Verb(_ID, "create a container", Flags(_CREATE_FLAGS, {"b": "bundle"}), 1, 1),
    "delete": Verb(_ID, "delete any resources held by the container", Flags({"force": SWITCH}, {"f": "force"}), 1, 1),
    "exec": Verb(
        f"{_ID} <command> [command options]",
        "execute new process inside the container",
        Flags(
            {
                **_PROCESS_FLAGS,
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
            },
            {"e": "env", "t": "tty", "u": "user", "g": "additional-gids", "p": "process", "d": "detach", "c": "cap"},
        ),
        1,
        None,
    ),
    "kill": Verb(
        f"{_ID} [signal]", "send a signal to the container's init", Flags({"all": SWITCH}, {"a": "all"}), 1, 2
    ),
    "list": Verb(
        "",
        "list the containers of this root",
        Flags({"format": VALUE, "quiet": SWITCH}, {"f": "format", "q": "quiet"}),
        0,
        0,
    ),
    "run": Verb(
        _ID,
        "create and run a container",
        Flags(
            {**_CREATE_FLAGS, "detach": SWITCH, "keep": SWITCH, "no-subreaper": SWITCH}, {"b": "bundle", "d": "detach"}
        ),
        1,
        1,
    ),
    "spec": Verb(
        "", "write a config.json to start from", Flags({"bundle": VALUE, "rootless": SWITCH}, {"b": "bundle"}), 0, 0
    ),
    "start": Verb(_ID, "execute the user defined process in a created container", Flags({}), 1, 1),
    "state": Verb(_ID, "print the state of a container", Flags({}), 1, 1),
}


class Globals:
    """The options in front of the verb."""

    __slots__ = ("log", "root")

    def __init__(self, root: str, log: Log) -> None:
        self.root = root
        self.log = log


def run(words: Sequence[str]) -> int:
    """Run one command. Its status: 0, 1 for an error, 255 for one of `exec`, 3 for an unknown verb, or a child's."""
    log = Log()
    try:
        options = arguments.parse(words, _GLOBAL_FLAGS)
        log = _log(options)
        return _dispatch(options, log)
    except UsageError as error:
        log.error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def refuse(words: Sequence[str], error: GroundError) -> int:
    """Report an error that came before the command could be run, where the command's own would be reported."""
    try:
        options = arguments.parse(words, _GLOBAL_FLAGS)
    except UsageError as usage:
        Log().error(str(usage))
        return 1
    return _fail((options.words or [""])[0], _log(options), error)


def _log(options: Parsed) -> Log:
    return Log(options.value("log"), options.value("log-format", "text"), debug=options.switch("debug"))


def _dispatch(options: Parsed, log: Log) -> int:
    if options.switch("version"):
        from groundplane import __version__

        print(f"{NAME} version {__version__}\nspec: {SPEC_VERSION}")
        return 0
    if not options.words or options.switch("help") or options.words[0] in ("help", "h"):
        print(_help(), end="")
        return 0
    if options.value("log-format", "text") not in ("text", "json"):
        raise UsageError(f'invalid log-format: "{options.value("log-format")}"')
    if options.switch("systemd-cgroup"):
        raise UsageError("systemd cgroup flag passed, but systemd support for managing cgroups is not available")
    name, *rest = options.words
    verb = VERBS.get(name)
    if verb is None:
        log.error(f"No help topic for '{name}'")
        return 3
    try:
        given = arguments.parse(rest, verb.flags, mixed=name != "exec")
        if "-h" in rest[:1] or "--help" in rest[:1]:
            print(f"USAGE:\n   {NAME} {name} [command options] {verb.usage}\n\n{verb.help}")
            return 0
        _check_words(name, verb, given)
    except UsageError as error:
        if rest[:1] in (["-h"], ["--help"]):
            print(f"USAGE:\n   {NAME} {name} [command options] {verb.usage}\n\n{verb.help}")
            return 0
        print(f"Incorrect Usage: {error}\n\nUSAGE:\n   {NAME} {name} [command options] {verb.usage}")
        raise
    return _run(name, given, Globals(os.path.abspath(options.value("root", DEFAULT_ROOT)), log))


def _check_words(name: str, verb: Verb, given: Parsed) -> None:
    count = len(given.words)
    if verb.fewest == verb.most and count != verb.fewest:
        raise UsageError(f'{NAME}: "{name}" requires exactly {verb.fewest} argument(s)')
    if count < verb.fewest:
        raise UsageError(f'{NAME}: "{name}" requires a minimum of {verb.fewest} argument(s)')
    if verb.most is not None and count > verb.most:
        raise UsageError(f'{NAME}: "{name}" requires a maximum of {verb.most} argument(s)')


def _run(name: str, given: Parsed, globals: Globals) -> int:
    try:
        return _load(name)(given, globals)
    except GroundError as error:
        return _fail(name, globals.log, error)


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
    else:
        from groundplane.runtime.verbs.spec import spec as verb
    return verb


def _help() -> str:
    lines = [f"{NAME} - an OCI runtime (runtime-spec {SPEC_VERSION}) with runc's command line", "", "USAGE:"]
    lines += [
        f"   {NAME} [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND [options] [arguments]",
        "",
    ]
    lines += ["COMMANDS:", *(f"   {name:<8} {verb.help}" for name, verb in VERBS.items())]
    return "\n".join(lines) + "\n"
