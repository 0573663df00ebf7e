"""`ground`: find the verb, import its module, run it, turn errors into a sentence and an exit code."""

from __future__ import annotations

import sys

from groundplane.base.errors import GroundError, UsageError
from groundplane.cli.place import Place
from groundplane.cli.verbs import NOT_OFFERED, VERBS


def main() -> None:
    """The console script. Ends without the interpreter's tear-down, which would cost 2 ms and has nothing to do."""
    import os

    code = run_line(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 141
    os._exit(code)


def run_line(words: list[str]) -> int:
    """Run one command line (without the program's name); its exit code."""
    try:
        place, words = _global_options(words)
        if not words:
            sys.stdout.write(help_text())
            return 0
        return _run_verb(words[0], words[1:], place)
    except GroundError as error:
        if str(error):
            sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BrokenPipeError:  # `ground ps | head`: 128 + SIGPIPE, as a shell says it
        _forget_stdout()
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 because a traceback is not for users: it is shown to who asks for it
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """A bug of ours, as one sentence; the traceback with GROUND_DEBUG=1. 70 is EX_SOFTWARE (sysexits.h)."""
    import os

    if os.environ.get("GROUND_DEBUG"):
        raise error
    sys.stderr.write(
        f"ground: unexpected error ({type(error).__name__}: {error}); this is a bug:"
        " run it again with GROUND_DEBUG=1 and report what it shows\n"
    )
    return 70


def _run_verb(name: str, args: list[str], place: Place) -> int:
    if name in NOT_OFFERED:
        raise UsageError(f"ground {name}: {NOT_OFFERED[name]}")
    if name not in VERBS:
        raise UsageError(f"ground: '{name}' is not a ground command.\nSee 'ground --help'")
    # Not importlib.import_module: importing importlib itself takes half a millisecond.
    module = __import__(f"groundplane.cli.{VERBS[name][0]}", fromlist=["run"])
    code: int = module.run(args, place)
    return code


def _global_options(words: list[str]) -> tuple[Place, list[str]]:
    """Options before the verb: --root DIR, --run DIR, --help, --version."""
    found: dict[str, str] = {}
    while words and words[0].startswith("-"):
        name, equals, value = words[0].partition("=")
        if name in ("--help", "-h"):
            return Place(), []
        if name in ("--version", "-v"):
            return Place(), ["version", "--short"]
        if name not in ("--root", "--run"):
            raise UsageError(f"unknown flag: {name}\nSee 'ground --help'")
        if not equals and len(words) < 2:
            raise UsageError(f"flag needs an argument: {name}")
        found[name[2:]] = value if equals else words[1]
        words = words[1 if equals else 2 :]
    return Place(found.get("root"), found.get("run")), words


def help_text() -> str:
    """All verbs by group."""
    lines = ["Usage:  ground [--root DIR] [--run DIR] COMMAND", "", "Containers and Kubernetes on this machine.", ""]
    width = max(len(name) for name in VERBS) + 2
    for group in dict.fromkeys(group for _, _, group in VERBS.values()):
        lines.append(f"{group}:")
        lines += [f"  {name:<{width}}{summary}" for name, (_, summary, of) in VERBS.items() if of == group]
        lines.append("")
    lines.append("Run 'ground COMMAND --help' for more information on a command.")
    return "\n".join(lines) + "\n"


def _forget_stdout() -> None:
    """Keep the interpreter from flushing a closed pipe again at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
