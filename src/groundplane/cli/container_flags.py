"""The flags that `run` and `create` share, and the create request they make."""

from __future__ import annotations

import os

from groundplane.cli.options import MANY, FlagError, Option, Parsed, flag, many, number, text
from groundplane.cli.units import BadValue, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALIASES = {"net": "network"}
NOTE = (
    "Without --network a container has no network; `--network host` gives it this machine's.\n"
    "Bridge networks and published ports (-p) are not offered yet."
)
CREATE_OPTIONS: tuple[Option, ...] = (
    many("attach", "a", "", "Attach to STDIN, STDOUT or STDERR"),
    many("cap-add", "", "", "Add Linux capabilities"),
    many("cap-drop", "", "", "Drop Linux capabilities"),
    text("cidfile", "", "string", "Write the container ID to the file"),
    number("cpu-period", "", "Limit CPU CFS (Completely Fair Scheduler) period"),
    number("cpu-quota", "", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    number("cpu-shares", "c", "CPU shares (relative weight)"),
    text("cpus", "", "decimal", "Number of CPUs"),
    text("cpuset-cpus", "", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    many("device", "", "", "Add a host device to the container"),
    text("entrypoint", "", "string", "Overwrite the default ENTRYPOINT of the image", ""),
    many("env", "e", "", "Set environment variables"),
    many("env-file", "", "", "Read in a file of environment variables"),
    many("group-add", "", "", "Add additional groups to join"),
    text("hostname", "h", "string", "Container host name"),
    flag("init", "", "Run an init inside the container that forwards signals and reaps processes"),
    flag("interactive", "i", "Keep STDIN open even if not attached"),
    text("ipc", "", "string", "IPC mode to use"),
    many("label", "l", "", "Set meta data on a container"),
    text("memory", "m", "bytes", "Memory limit"),
    Option("mount", "", MANY, "mount", "Attach a filesystem mount to the container"),
    text("name", "", "string", "Assign a name to the container"),
    text("network", "", "network", "Connect a container to a network: none or host"),
    text("oom-score-adj", "", "int", "Tune host's OOM preferences (-1000 to 1000)"),
    text("pid", "", "string", "PID namespace to use"),
    number("pids-limit", "", "Tune container pids limit (set -1 for unlimited)"),
    flag("privileged", "", "Give extended privileges to this container"),
    many("publish", "p", "", "Publish a container's port(s) to the host (not offered yet)"),
    text("pull", "", "string", "Pull image before running (missing, never)", "missing"),
    flag("read-only", "", "Mount the container's root filesystem as read only"),
    text("restart", "", "string", "Restart policy to apply when a container exits (no)", "no"),
    flag("rm", "", "Automatically remove the container when it exits"),
    many("security-opt", "", "", "Security Options"),
    text("shm-size", "", "bytes", "Size of /dev/shm"),
    text("stop-signal", "", "string", "Signal to stop the container"),
    number("stop-timeout", "", "Timeout (in seconds) to stop a container"),
    many("sysctl", "", "", "Sysctl options"),
    many("tmpfs", "", "", "Mount a tmpfs directory"),
    flag("tty", "t", "Allocate a pseudo-TTY"),
    Option("ulimit", "", MANY, "ulimit", "Ulimit options"),
    text("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
    many("volume", "v", "", "Bind mount a directory of the host"),
    text("workdir", "w", "string", "Working directory inside the container"),
)


def create_body(given: Parsed, *, attached: bool) -> dict[str, Any]:
    """The body of `POST /containers/create`. Raises FlagError, BadValue."""
    if given.many("publish"):
        raise FlagError(
            "ground: published ports (-p) are not offered yet: use --network host, and the program's own port"
        )
    image, *command = given.words
    interactive, tty = given.on("interactive"), given.on("tty")
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": command or None,
        "Env": environment(given),
        "Labels": _pairs(given.many("label")),
        "Hostname": given.text("hostname"),
        "User": given.text("user"),
        "WorkingDir": given.text("workdir"),
        "Tty": tty,
        "OpenStdin": interactive,
        "StdinOnce": interactive and attached,
        "AttachStdin": interactive and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "StopSignal": given.text("stop-signal"),
        "HostConfig": _host_config(given),
    }
    if "entrypoint" in given.given:
        body["Entrypoint"] = [given.text("entrypoint")]
    if (timeout := given.number("stop-timeout")) is not None:
        body["StopTimeout"] = timeout
    return body


def _host_config(given: Parsed) -> dict[str, Any]:
    config: dict[str, Any] = {
        "NetworkMode": given.text("network") or "default",
        "AutoRemove": given.on("rm"),
        "Privileged": given.on("privileged"),
        "ReadonlyRootfs": given.on("read-only"),
        "Init": given.on("init") or None,
        "CapAdd": given.many("cap-add"),
        "CapDrop": given.many("cap-drop"),
        "SecurityOpt": _security_options(given.many("security-opt")),
        "GroupAdd": given.many("group-add"),
        "PidMode": given.text("pid"),
        "IpcMode": given.text("ipc"),
        "Sysctls": _pairs(given.many("sysctl")),
        "Binds": [_bind(word) for word in given.many("volume")],
        "Mounts": [_mount(word) for word in given.many("mount")],
        "Tmpfs": {path: options for path, _, options in (word.partition(":") for word in given.many("tmpfs"))},
        "Devices": [_device(word) for word in given.many("device")],
        "Ulimits": [_ulimit(word) for word in given.many("ulimit")],
        "RestartPolicy": {"Name": given.text("restart").partition(":")[0]},
        "CpuShares": given.number("cpu-shares") or 0,
        "CpuPeriod": given.number("cpu-period") or 0,
        "CpuQuota": given.number("cpu-quota") or 0,
        "CpusetCpus": given.text("cpuset-cpus"),
        "PidsLimit": given.number("pids-limit") or 0,
    }
    if cpus := given.text("cpus"):
        config["NanoCpus"] = _nano_cpus(cpus)
    for name, key in (("memory", "Memory"), ("shm-size", "ShmSize")):
        if value := given.text(name):
            config[key] = parse_size(value, f"--{name}")
    if adjust := given.text("oom-score-adj"):
        config["OomScoreAdj"] = _whole(adjust, "--oom-score-adj")
    return config


def environment(given: Parsed) -> list[str]:
    """`--env-file` first, then `--env`; a bare NAME takes the caller's value, if there is one."""
    words: list[str] = []
    for path in given.many("env-file"):
        try:
            with open(path, encoding="utf-8") as f:
                lines = f.read().splitlines()
        except OSError as error:
            raise FlagError(f"ground: open {path}: {(error.strerror or '').lower()}") from error
        words += [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    words += given.many("env")
    found = []
    for word in words:
        name, equals, _ = word.partition("=")
        if not name:
            raise BadValue(
                f'ground: invalid argument "{word}" for "-e, --env" flag: invalid environment variable: {word}'
            )
        if equals:
            found.append(word)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def _pairs(words: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _security_options(words: list[str]) -> list[str]:
    """A seccomp profile is named by its file here and sent as its text."""
    found = []
    for word in words:
        key, _, value = word.partition("=")
        if key == "seccomp" and value not in ("", "unconfined", "builtin"):
            try:
                with open(value, encoding="utf-8") as f:
                    word = f"seccomp={f.read()}"
            except OSError as error:
                raise FlagError(f"ground: opening seccomp profile ({value}) failed: {error.strerror}") from error
        found.append(word)
    return [word for word in found if word != "seccomp=builtin"]


def _bind(word: str) -> str:
    """A source that is a path of the caller's is made absolute; a bare word is a volume's name, as in docker."""
    source, colon, rest = word.partition(":")
    if not colon:
        raise FlagError(f"ground: -v {word}: anonymous volumes are not offered yet: use SOURCE:DESTINATION, or --tmpfs")
    if source.startswith((".", "~")):
        source = os.path.abspath(os.path.expanduser(source))
    return f"{source}:{rest}"


def _mount(word: str) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": "volume"}
    for item in word.split(","):
        key, equals, value = item.partition("=")
        if key == "type":
            found["Type"] = value
        elif key in ("source", "src"):
            found["Source"] = os.path.abspath(value) if value.startswith(".") else value
        elif key in ("target", "destination", "dst"):
            found["Target"] = value
        elif key in ("readonly", "ro"):
            found["ReadOnly"] = not equals or value in ("true", "1")
        elif key == "bind-propagation":
            found["BindOptions"] = {"Propagation": value}
        elif key == "tmpfs-size":
            found.setdefault("TmpfsOptions", {})["SizeBytes"] = parse_size(value, "--mount")
        elif key == "tmpfs-mode":
            found.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
        else:
            raise BadValue(
                f"ground: invalid argument \"{word}\" for \"--mount\" flag: unexpected key '{key}' in '{item}'"
            )
    if "Target" not in found:
        raise BadValue(f'ground: invalid argument "{word}" for "--mount" flag: target is required')
    return found


def _device(word: str) -> dict[str, str]:
    source, *rest = word.split(":")
    inside = rest[0] if rest and rest[0].startswith("/") else source
    rights = rest[-1] if rest and not rest[-1].startswith("/") else "rwm"
    return {"PathOnHost": source, "PathInContainer": inside, "CgroupPermissions": rights}


def _ulimit(word: str) -> dict[str, Any]:
    name, equals, values = word.partition("=")
    soft, colon, hard = values.partition(":")
    if not equals:
        raise BadValue(f'ground: invalid argument "{word}" for "--ulimit" flag: invalid ulimit argument: {word}')
    first = _whole(soft, "--ulimit")
    return {"Name": name, "Soft": first, "Hard": _whole(hard, "--ulimit") if colon else first}


def _nano_cpus(text: str) -> int:
    try:
        return int(float(text) * 1e9)
    except ValueError:
        raise BadValue(
            f'ground: invalid argument "{text}" for "--cpus" flag: failed to parse {text} as a number'
        ) from None


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadValue(f'ground: invalid argument "{text}" for "{name}" flag: a whole number expected') from None
