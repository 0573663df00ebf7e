"""`exec`: a process beside the container's init."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.runtime.arguments import whole_number
from groundplane.runtime.beside import exec_process, has_own_mounts
from groundplane.runtime.documents import read_json
from groundplane.runtime.state import Store
from groundplane.runtime.verbs import creation
from groundplane.runtime.verbs.foreground import attend, stay
from groundplane.runtime.verbs.showing import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.state import Container


def exec(given: Parsed, globals: Globals) -> int:
    container = Store(globals.root).load(given.words[0])
    status = status_of(container)
    if status in ("creating", "stopped"):
        raise GroundError(f"cannot exec in a {status} container")
    if status == "paused" and not given.switch("ignore-paused"):
        raise GroundError("cannot exec in a paused container (use --ignore-paused to override)")
    below = sub_groups(given.many("cgroup"))
    process = _process(given, container)
    detach = given.switch("detach")
    terminal = process.get("terminal") is True
    creation.check_console(given.value("console-socket"), terminal=terminal, detach=detach)
    created = exec_process(
        container.pid,
        process,
        stdio=(0, 1, 2),
        cgroup=container.cgroup,
        console=terminal,
        seccomp=(container.config.get("linux") or {}).get("seccomp"),
        keep_fds=creation.preserved(given, process),
        below=below,
        personality=((container.config.get("linux") or {}).get("personality") or {}).get("domain") or "",
        state={
            "id": container.id,
            "status": "running",
            "bundle": container.bundle,
            "annotations": container.config.get("annotations") or {},
        },
        chroot=not has_own_mounts(container.config),
    )
    try:
        creation.warn(globals, created.warnings)
        if detach:
            creation.hand_over_console(given.value("console-socket"), created.console_fd)
        creation.hand_over_pidfd(given.value("pidfd-socket"), created.pidfd)
        creation.write_pid_file(given.value("pid-file"), created.pid)
        globals.log.debug(f"container {container.id}: process {created.pid} is set up and waits")
    except BaseException:
        created.abort()
        raise
    if not detach:
        attend(created)
    created.start()
    return 0 if detach else stay(created)


def sub_groups(arguments: list[str]) -> dict[str, str] | None:
    """`--cgroup [<controller>[,<controller>]:]<path>` as groups below the container's, by controller (`` for all)."""
    if not arguments:
        return None
    below = {}
    for argument in arguments:
        controllers, colon, path = argument.rpartition(":")
        if ":" in controllers:
            raise GroundError(f"invalid --cgroup argument: {argument}")
        if not colon and len(arguments) > 1:
            raise GroundError(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise GroundError(f"{path} is not a sub cgroup path")
        below.update(dict.fromkeys(controllers.split(","), "/".join(parts)))
    return below


def _process(given: Parsed, container: Container) -> dict[str, Any]:
    """The process object: a file's, or the container's own with what the options change."""
    if path := given.value("process"):
        try:
            document = read_json(path)
        except OSError as error:
            raise GroundError(f"open {path}: {(error.strerror or '').lower()}") from error
        if not isinstance(document, dict):
            raise GroundError(f"{path}: an object is expected")
        return document
    if len(given.words) < 2:
        raise GroundError("process args cannot be empty")
    process = dict(container.config["process"])
    process.pop("oomScoreAdj", None)
    process["args"] = given.words[1:]
    process["terminal"] = given.switch("tty")
    process["env"] = [*(process.get("env") or ()), *given.many("env")]
    if given.value("cwd"):
        process["cwd"] = given.value("cwd")
    if given.given("apparmor"):
        process["apparmorProfile"] = given.value("apparmor")
    if given.given("process-label"):
        process["selinuxLabel"] = given.value("process-label")
    if given.given("no-new-privs"):
        process["noNewPrivileges"] = given.switch("no-new-privs")
    _set_user(process, given)
    _add_capabilities(process, given.many("cap"))
    return process


def _set_user(process: dict[str, Any], given: Parsed) -> None:
    user = dict(process.get("user") or {})
    if given.value("user"):
        uid, colon, gid = given.value("user").partition(":")
        user["uid"] = _number(uid, "uid")
        if colon:
            user["gid"] = _number(gid, "gid")
    if given.many("additional-gids"):
        more = [_number(gid, "additional gid") for gid in given.many("additional-gids")]
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *more]
    process["user"] = user


def _number(text: str, what: str) -> int:
    number = whole_number(text)
    if number is None or number < 0:
        raise GroundError(f'parsing {text} as int for {what} failed: strconv.Atoi: parsing "{text}": invalid syntax')
    return number


def _add_capabilities(process: dict[str, Any], names: list[str]) -> None:
    """--cap goes to all sets; to inheritable and ambient only where the container has any there (as runc)."""
    if not names:
        return
    sets = {key: list(value or ()) for key, value in (process.get("capabilities") or {}).items()}
    for key in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        if key in ("inheritable", "ambient") and not sets.get(key):
            continue
        sets[key] = [*sets.get(key, ()), *names]
    process["capabilities"] = sets
