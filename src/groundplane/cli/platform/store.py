"""`ground store …`: look after the cluster's store, while the platform runs or while nothing does."""

from __future__ import annotations

import sys

from groundplane.base.errors import GroundError, UsageError
from groundplane.cli.options import Command, flag, number, text
from groundplane.cli.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.cli.options import Parsed

_STORE = text("store", "", "url", "Another store than this platform's own: sqlite:/path or etcd://host:port")
_FORMAT = text("format", "", "format", "Output: text or json", "text")

STATUS = Command(
    "store status", "[OPTIONS]", "Show the driver, revisions, number of keys, size, and what is in the way of writes.",
    (_STORE, _FORMAT), maximum=0,
)  # fmt: skip
BACKUP = Command(
    "store backup", "[OPTIONS] FILE", "Copy everything as of one moment into a new file, while writes go on.",
    (_STORE,), minimum=1, maximum=1,
    note="The file holds the cluster's secrets; it is readable by its owner only. Certificates and keys are not in it:"
         " they are in the `pki` directory of the state root.",
)  # fmt: skip
RESTORE = Command(
    "store restore", "[OPTIONS] FILE", "Make the store what a backup holds; the platform must be down.",
    (_STORE, flag("replace", "", "Replace the store that is there; it is kept beside the new one")),
    minimum=1, maximum=1,
    note="Revisions go on 1,000,000,000 above the backup's, so that no client takes a new one for one it has seen.",
)  # fmt: skip
COMPACT = Command(
    "store compact", "[OPTIONS]", "Forget history; the newest state always stays.",
    (_STORE, number("revision", "", "Up to this revision, which stays readable (the newest)")), maximum=0,
)  # fmt: skip
CHECK = Command(
    "store check", "[OPTIONS]", "Read all that is stored and say what is wrong; exit code 1 where something is.",
    (_STORE, _FORMAT), maximum=0,
)  # fmt: skip
MIGRATE = Command(
    "store migrate", "[OPTIONS] URL", "Copy the store to another driver or place; the platform must be down.",
    (text("from", "", "url", "The store to copy (this platform's own)"),), minimum=1, maximum=1,
    note="The store that is copied stays as it is. `ground apiserver --store URL` runs on the new one.",
)  # fmt: skip
_COMMANDS = (STATUS, BACKUP, RESTORE, COMPACT, CHECK, MIGRATE)


def run(args: list[str], place: Place) -> int:
    commands = {command.name.partition(" ")[2]: command for command in _COMMANDS}
    if not args or args[0] in ("--help", "-h"):
        rows = "".join(f"  {name:<10}{command.summary}\n" for name, command in commands.items())
        sys.stdout.write(f"\nUsage:  ground store COMMAND\n\nLook after the cluster's store\n\nCommands:\n{rows}")
        return 0
    if args[0] not in commands:
        raise UsageError(f"ground: '{args[0]}' is not a ground store command.\nSee 'ground store --help'")
    if (given := commands[args[0]].parse(args[1:])) is None:
        return 0
    return _WORK[args[0]](given, place)


def _status(given: Parsed, place: Place) -> int:
    asked = _Asked(given, place)
    found = asked.running("GET", "")
    if found is None:
        found = asked.care.on_stopped(asked.url, asked.care.describe)
    _show(given, found, _status_text(found))
    return 0


def _status_text(found: dict[str, Any]) -> str:
    from groundplane.cli.units import human_size

    rows = [
        ("Driver", found["driver"]), ("Keys", found["keys"]), ("Revision", found["revision"]),
        ("Oldest revision", found["oldest"]), ("Size", human_size(found["size"]) if found["size"] else ""),
        *(("Alarm", alarm) for alarm in found["alarms"]),
    ]  # fmt: skip
    return "".join(f"{title + ':':<18}{value}\n" for title, value in rows if value != "")


def _backup(given: Parsed, place: Place) -> int:
    import os

    from groundplane.cli.units import human_size

    asked, path = _Asked(given, place), os.path.abspath(given.words[0])
    made = asked.running("POST", "/backup", {"path": path})
    if made is None:
        made = asked.care.on_stopped(asked.url, lambda store: asked.care.backup(store, path))
    sys.stdout.write(f"Backup of revision {made['revision']} in {path} ({human_size(made['size'])})\n")
    return 0


def _restore(given: Parsed, place: Place) -> int:
    import os

    asked = _Asked(given, place)
    asked.must_be_down("restored into")
    done = asked.care.restore(os.path.abspath(given.words[0]), asked.url, aside=given.on("replace"))
    sys.stdout.write(f"Restored {done['keys']} keys; revision {done['revision']}\n")
    if done["kept"]:
        sys.stdout.write(f"The store that was there is kept: {done['kept']}\n")
    _warn_of_behind(done)
    return 0


def _compact(given: Parsed, place: Place) -> int:
    asked, revision = _Asked(given, place), given.number("revision") or 0
    if "revision" in given.given and revision < 1:
        raise UsageError("revision: 1 or more expected")
    found = asked.running("POST", "/compact", {"revision": revision})
    if found is None:
        found = asked.care.on_stopped(asked.url, lambda store: asked.care.compact(store, revision))
    sys.stdout.write(f"The oldest revision that can be read is {found['oldest']}\n")
    return 0


def _check(given: Parsed, place: Place) -> int:
    asked = _Asked(given, place)
    found = asked.running("POST", "/check", {})
    problems = asked.care.check_stopped(asked.url) if found is None else found["problems"]
    words = "".join(f"{problem}\n" for problem in problems) or "The store is sound.\n"
    _show(given, {"problems": problems}, words)
    return 1 if problems else 0


def _migrate(given: Parsed, place: Place) -> int:
    asked = _Asked(given, place, "from")
    asked.must_be_down("copied")
    done = asked.care.migrate(asked.url, given.words[0])
    sys.stdout.write(f"Copied {done['keys']} keys; revision {done['revision']}\n")
    _warn_of_behind(done)
    return 0


_WORK = {
    "status": _status, "backup": _backup, "restore": _restore,
    "compact": _compact, "check": _check, "migrate": _migrate,
}  # fmt: skip


class _Asked:
    """Which store is meant, and whether the running platform answers for it."""

    def __init__(self, given: Parsed, place: Place, option: str = "store") -> None:
        self._place = place
        self._own = not given.text(option)
        self._url = given.text(option)

    @property
    def care(self) -> Any:
        from groundplane.daemon import storecare  # late: 100 ms that a running platform's verbs do not need

        return storecare

    @property
    def url(self) -> str:
        return self.care.own_url(self._place.settings()) if self._own else self._url

    def running(self, method: str, path: str, body: object = None) -> Any:
        """The running platform's answer; None where nobody runs, or another store is meant."""
        from groundplane.cli.api import Api, ApiError, EngineDown

        if not self._own:
            return None
        try:
            return Api(self._place, start=False).json(method, "/ground/store" + path, None, body)
        except EngineDown:
            return None
        except ApiError as error:
            if error.status == 404:  # an engine without a control plane
                return None
            raise GroundError(error.message) from None

    def must_be_down(self, doing: str) -> None:
        if self.running("GET", "") is not None:
            raise GroundError(f"the store is in use and cannot be {doing}: run `ground down` first")


def _warn_of_behind(done: dict[str, Any]) -> None:
    if done["behind"]:
        sys.stdout.write(
            f"Its revision is {done['behind']} lower than what clients may have seen: start anew whatever watches the"
            " cluster (controllers, schedulers, nodes, operators), and discard resource versions kept elsewhere\n"
        )


def _show(given: Parsed, document: object, words: str) -> None:
    form = given.text("format")
    if form not in ("text", "json"):
        raise UsageError(f"format {form!r} is not known; use text or json")
    if form == "json":
        import json

        words = json.dumps(document) + "\n"
    sys.stdout.write(words)
