"""What `--help` prints. Loaded only to be printed; `commands.py` has the flags themselves."""

from __future__ import annotations

from groundplane.runtime.arguments import NUMBER, SWITCH
from groundplane.runtime.commands import DEFAULT_ROOT, GLOBAL_FLAGS, NAME, SPEC_VERSION, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Flags

_ID = "<container-id>"

# verb: (what it does, the words it takes)
_VERBS = {
    "checkpoint": ("refused: saving a running container needs CRIU, which is not offered", _ID),
    "create": ("create a container", _ID),
    "delete": ("delete any resources held by the container", _ID),
    "events": ("display OOM events and statistics of a container as they come", _ID),
    "exec": ("execute new process inside the container", f"{_ID} <command> [arguments] | -p process.json {_ID}"),
    "features": ("show what this runtime knows of the specification, as JSON", ""),
    "kill": ("send a signal (SIGTERM where none is given) to the container's init", f"{_ID} [signal]"),
    "list": ("list the containers of this root", ""),
    "pause": ("suspend all processes inside the container", _ID),
    "ps": ("display the processes inside the container", f"{_ID} [ps options]"),
    "restore": ("refused: restoring a saved container needs CRIU, which is not offered", _ID),
    "resume": ("resume all processes that were paused", _ID),
    "run": ("create and run a container", _ID),
    "spec": ("write a config.json to start from", ""),
    "start": ("execute the user defined process in a created container", _ID),
    "state": ("print the state of a container", _ID),
    "update": ("change a container's resource limits", _ID),
}

_FLAGS = {
    "additional-gids": "one more group of the process",
    "all": "send the signal to all processes of the container",
    "apparmor": "AppArmor profile of the process",
    "blkio-weight": "I/O weight, 10 to 1000",
    "bundle": "the bundle's directory (default: the current one)",
    "cap": "one more capability for the process",
    "cgroup": "run the process in an existing group below the container's: [<controller>:]<cgroup>",
    "console-socket": "unix socket that receives the terminal's master side",
    "cpu-burst": "CPU time that may be saved up for a burst (microseconds)",
    "cpu-idle": "1: SCHED_IDLE for the container, 0: not",
    "cpu-period": "length of a CPU period (microseconds)",
    "cpu-quota": "CPU time in each period (microseconds)",
    "cpu-rt-period": "length of a real-time CPU period (microseconds)",
    "cpu-rt-runtime": "real-time CPU time in each period (microseconds)",
    "cpu-share": "CPU shares, against those of others",
    "cpuset-cpus": "CPUs to use",
    "cpuset-mems": "memory nodes to use",
    "criu": "taken and ignored, as there is no checkpoint",
    "cwd": "working directory in the container",
    "debug": "log more",
    "detach": "do not stay with the process",
    "env": "one more environment variable, NAME=value",
    "force": "kill the container first if it still runs",
    "format": "table or json",
    "help": "show help",
    "ignore-paused": "also in a paused container",
    "interval": "how often to display statistics (default: 5s)",
    "keep": "do not delete the container when it has ended",
    "l3-cache-schema": "Intel RDT cache schema (refused)",
    "log": "file for the log (default: standard error)",
    "log-format": "text or json (default: text)",
    "mem-bw-schema": "Intel RDT memory bandwidth schema (refused)",
    "memory": "memory limit (bytes; k, m, g are understood)",
    "memory-reservation": "memory reservation, a soft limit (bytes)",
    "memory-swap": "limit of memory and swap together (bytes); -1 is none",
    "no-new-keyring": "keep our session keyring",
    "no-new-privs": "set no_new_privs for the process",
    "no-pivot": "do not use pivot_root(2), for a root file system on a ramdisk",
    "no-subreaper": "do not become the parent of orphans",
    "pid-file": "file to write the process id to",
    "pidfd-socket": "unix socket that receives a pidfd of the process",
    "pids-limit": "most processes and threads in the container; -1 is no limit",
    "preserve-fds": "how many descriptors from 3 on the process gets, besides those of socket activation",
    "process": "file with the whole process object",
    "process-label": "SELinux label of the process",
    "quiet": "only the ids",
    "resources": "file with a LinuxResources object, - for standard input; other options are then ignored",
    "root": f"directory of the containers' state (default: {DEFAULT_ROOT})",
    "rootless": "ignore missing rights to cgroups: true, false or auto (default: auto)",
    "stats": "display the statistics once and end",
    "systemd-cgroup": "refused at create and run: cgroups are made directly",
    "tty": "give the process a terminal",
    "user": "user of the process: <uid>[:<gid>]",
    "version": "print the version",
}
_SPEC = {"rootless": "for a container without root's rights"}


def of_all() -> str:
    """The help of the whole command line."""
    lines = [f"NAME:\n   {NAME} - OCI runtime (runtime-spec {SPEC_VERSION}) with runc's command line", ""]
    lines += ["USAGE:", f"   {NAME} [global options] command [command options] [arguments...]", "", "COMMANDS:"]
    lines += [f"   {name:<11} {what}" for name, (what, _) in _VERBS.items()]
    lines += [f"   {'help, h':<11} show this, or one command's help", "", "GLOBAL OPTIONS:", *_options(GLOBAL_FLAGS)]
    return "\n".join(lines) + "\n"


def of_verb(name: str) -> str:
    """The help of one verb."""
    what, words = _VERBS[name]
    lines = ["NAME:", f"   {NAME} {name} - {what}", ""]
    lines += ["USAGE:", f"   {NAME} {name} [command options] {words}".rstrip()]
    options = _options(VERBS[name].flags, _SPEC if name == "spec" else {})
    if len(options) > 1:
        lines += ["", "OPTIONS:", *options]
    return "\n".join(lines) + "\n"


def _options(flags: Flags, special: dict[str, str] | None = None) -> list[str]:
    letters = {name: letter for letter, name in flags.aliases.items()}
    rows = []
    for name, kind in flags.kinds.items():
        value = "" if kind == SWITCH else " number" if kind == NUMBER else " value"
        spelled = f"--{name}{value}" + (f", -{letters[name]}{value}" if name in letters else "")
        what = (special or {}).get(name) or _FLAGS.get(name)
        if what:  # CRIU's and those that do nothing any more are taken, not shown
            rows.append((spelled, what))
    width = max(len(spelled) for spelled, _ in rows)
    return [f"   {spelled:<{width}}  {what}" for spelled, what in rows]
