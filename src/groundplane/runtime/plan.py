"""From documents to steps: pure, but for what the host must say about itself (`Host`).

A *plan* is everything that the inside stage will do, decided before the new process exists: the flags of its clone,
the namespaces its parent must choose for it, the steps in order, and the program at the end.
"""

from __future__ import annotations

from groundplane.kernel import caps
from groundplane.kernel.calls.process import CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER
from groundplane.oci.runtime import Process
from groundplane.oci.runtime_reader import Reader
from groundplane.runtime import options
from groundplane.runtime.program import environment
from groundplane.runtime.steps import devices, identity, mounts, namespaces, paths, rootfs, terminal
from groundplane.runtime.steps.hooks import AskForHooks, RunHooks
from groundplane.runtime.validate import BadConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.kernel.cgroups.contract import View
    from groundplane.oci.runtime import Config, Mount
    from groundplane.runtime.steps.base import Step

_SCHED_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}  # personality(2)


# What waits in a container whose document has no process: nothing that could be started.
NO_PROCESS = Process(Reader({"cwd": "/"}, "process"))


class Host:
    """What a plan needs to know of the host: the capabilities we may give, and the kernel's highest one."""

    __slots__ = ("last_capability", "permitted")

    def __init__(self, permitted: int, last_capability: int) -> None:
        self.permitted = permitted
        self.last_capability = last_capability

    @classmethod
    def look(cls) -> Host:
        sets = caps.current()
        return cls(sets["CapPrm"] & sets["CapBnd"], caps.last())


class Plan:
    """What to do inside, in order, and what outside must do for it."""

    __slots__ = ("args", "clone_flags", "environment", "parent_namespaces", "start_hooks", "steps", "warnings")

    def __init__(self, process: Process, clone_flags: int) -> None:
        self.clone_flags = clone_flags
        self.parent_namespaces: list[tuple[str, str]] = []  # pid and time by path: only a parent can choose them
        self.steps: list[Step] = []
        self.start_hooks: RunHooks | None = None
        self.args = process.args
        self.environment = environment(process.env)
        self.warnings: list[str] = []

    def describe(self) -> list[str]:
        """Every step in words, for the log."""
        return [step.describe() for step in self.steps]


def plan_container(
    config: Config,
    host: Host,
    *,
    id: str,
    bundle: str,
    root: str,
    views: Sequence[View],
    console: bool,
    keyring: bool = True,
    seccomp: tuple[bytes, int] | None = None,
) -> Plan:
    """The plan for a container's init. `root` is the absolute root path, `seccomp` its compiled profile.

    Raises BadConfig, ProgramError.
    """
    process = config.process or NO_PROCESS
    plan = Plan(process, _clone_flags(config))
    plan.steps += _isolation(config, plan, f"_ses.{id}" if keyring else "")
    plan.steps.append(rootfs.PrepareRoot(root, config.linux.rootfs_propagation))
    plan.steps += _mounts(config, bundle, views)
    if _sets_up_dev(config):
        plan.steps += [_devices(config), devices.LinkDevices()]
    hooks = config.hooks
    state = (id, "creating", bundle, config.annotations)
    if hooks.prestart or hooks.create_runtime:
        plan.steps.append(AskForHooks())
    if hooks.create_container:
        plan.steps.append(RunHooks("createContainer", hooks.create_container, *state))
    plan.steps.append(rootfs.PivotRoot())
    if console:
        plan.steps.append(terminal.OpenConsole(process.console_size, process.user.uid, bind=True))
        plan.steps.append(terminal.TakeTerminal())
    plan.steps += _finish_root(config)
    plan.steps += _identity(process, host, plan, seccomp)
    if hooks.start_container:
        plan.start_hooks = RunHooks("startContainer", hooks.start_container, id, "created", bundle, config.annotations)
    return plan


def plan_exec(
    process: Process,
    host: Host,
    *,
    descriptors: list[int],
    flags: int,
    console: bool,
    keyring: str = "",
    seccomp: tuple[bytes, int] | None = None,
) -> Plan:
    """The plan for a process beside an init: `descriptors` is its pidfd, `flags` the namespaces where it differs."""
    plan = Plan(process, 0)
    # PID and time are chosen by the parent; the rest are entered by the child, all at once.
    plan.steps.append(namespaces.JoinProcess(descriptors, flags & ~(CLONE_NEWPID | CLONE_NEWTIME)))
    plan.steps.append(namespaces.NewSession(keyring))
    if console:
        plan.steps.append(terminal.OpenConsole(process.console_size, process.user.uid, bind=False))
        plan.steps.append(terminal.TakeTerminal())
    plan.steps += _identity(process, host, plan, seccomp)
    return plan


def _clone_flags(config: Config) -> int:
    """New namespaces of the clone itself; a cgroup namespace is entered later, from inside the cgroup."""
    flags = 0
    for namespace in config.linux.namespaces:
        if not namespace.path:
            flags |= namespaces.FLAGS[namespace.type]
    return flags & ~(CLONE_NEWCGROUP | CLONE_NEWTIME)


def _isolation(config: Config, plan: Plan, keyring: str) -> list[Step]:
    steps: list[Step] = []
    joined = []
    for namespace in config.linux.namespaces:
        if namespace.path and (namespace.type in ("pid", "time") or _before_user(namespace.type, plan)):
            plan.parent_namespaces.append((namespace.type, namespace.path))
        elif namespace.path:
            joined.append((namespace.type, namespace.path))
        elif namespace.type == "time":
            plan.parent_namespaces.append(("time", ""))
    if plan.clone_flags & CLONE_NEWUSER:
        steps.append(namespaces.BecomeMapped(plan.clone_flags & ~(CLONE_NEWUSER | CLONE_NEWPID)))
        plan.clone_flags &= CLONE_NEWUSER | CLONE_NEWPID
    if joined:
        steps.append(namespaces.JoinNamespaces(joined))
    steps.append(namespaces.NewSession(keyring))
    if any(n.type == "network" and not n.path for n in config.linux.namespaces):
        steps.append(namespaces.RaiseLoopback())
    return steps


def _before_user(kind: str, plan: Plan) -> bool:
    """Whether a namespace must be entered before the new user namespace, whose root has no right to enter it."""
    return bool(plan.clone_flags & CLONE_NEWUSER) and kind not in ("user", "mount")


def _mounts(config: Config, bundle: str, views: Sequence[View]) -> list[Step]:
    cgroup_namespace = any(n.type == "cgroup" and not n.path for n in config.linux.namespaces)
    steps: list[Step] = []
    for mount in config.mounts:
        step = _mount(mount, bundle, views, cgroup_namespace=cgroup_namespace)
        steps.append(step)
    if cgroup_namespace and not any(isinstance(s, mounts.MountCgroups) for s in steps):
        steps.append(mounts.NewCgroupNamespace())
    return steps


def _mount(mount: Mount, bundle: str, views: Sequence[View], *, cgroup_namespace: bool) -> Step:
    parsed = options.parse(mount.options)
    destination = mount.destination if mount.destination.startswith("/") else f"/{mount.destination}"
    if parsed.idmap or mount.uid_mappings or mount.gid_mappings:
        raise BadConfig(f"mount {destination}: id-mapped mounts are not supported by this runtime")
    if mount.type == "bind" or parsed.bind:
        if parsed.data:
            raise BadConfig(
                f"invalid mount {destination}: bind mounts cannot have any filesystem-specific options applied"
            )
        if not mount.source:
            raise BadConfig(f"invalid mount {destination}: a bind mount needs a source")
        source = mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"
        return mounts.BindMount(source, destination, parsed)
    if mount.type in ("cgroup", "cgroup2"):
        return mounts.MountCgroups(destination, parsed, views, namespace=cgroup_namespace)
    if not mount.type:
        raise BadConfig(f"invalid mount {destination}: it has neither a type nor the option bind")
    return mounts.MountFilesystem(mount.type, mount.source or mount.type, destination, parsed)


def _sets_up_dev(config: Config) -> bool:
    """Not where the document binds a /dev of its own: its nodes are its owner's (runc does the same)."""
    for mount in config.mounts:
        if mount.destination.rstrip("/") == "/dev" and (mount.type == "bind" or {"bind", "rbind"} & set(mount.options)):
            return False
    return True


def _devices(config: Config) -> Step:
    nodes = {node.path: node for node in devices.DEFAULT_NODES}
    for device in config.linux.devices:
        mode = 0o666 if device.file_mode is None else device.file_mode
        path = device.path if device.path.startswith("/") else f"/{device.path}"
        nodes[path] = devices.Node(path, device.type, device.major, device.minor, mode & 0o7777, device.uid, device.gid)
    in_user_namespace = any(n.type == "user" for n in config.linux.namespaces)
    return devices.MakeDevices(tuple(nodes.values()), bind=in_user_namespace)


def _finish_root(config: Config) -> list[Step]:
    linux, root, process = config.linux, config.root, config.process or NO_PROCESS
    assert root is not None  # `validate` has said so
    steps: list[Step] = []
    if process.cwd != "/":
        steps.append(rootfs.MakeWorkingDirectory(process.cwd))
    dev_readonly = any(
        m.destination.rstrip("/") == "/dev" and m.type == "tmpfs" and options.parse(m.options).read_only
        for m in config.mounts
    )
    if dev_readonly or root.readonly or linux.rootfs_propagation:
        steps.append(
            rootfs.FinishRoot(readonly=root.readonly, dev_readonly=dev_readonly, propagation=linux.rootfs_propagation)
        )
    if config.hostname or config.domainname:
        steps.append(namespaces.SetNames(config.hostname, config.domainname))
    if linux.sysctl:
        steps.append(namespaces.SetSysctls(linux.sysctl))
    if linux.readonly_paths:
        steps.append(paths.ReadOnlyPaths(linux.readonly_paths))
    if linux.masked_paths:
        steps.append(paths.MaskPaths(linux.masked_paths))
    if linux.personality:
        steps.append(identity.SetPersonality(_PERSONALITIES[linux.personality.domain]))
    return steps


def _identity(process: Process, host: Host, plan: Plan, seccomp: tuple[bytes, int] | None) -> list[Step]:
    """What the process is, in the order that rights allow.

    With no_new_privs the filter can come after the capabilities have gone and covers the fewest calls of ours; without,
    installing it needs CAP_SYS_ADMIN, so it comes first, and the profile must allow what follows (as with runc).
    """
    steps: list[Step] = []
    if process.scheduler or process.io_priority:
        steps.append(_scheduling(process))
    if process.apparmor_profile:
        steps.append(identity.SetSecurityLabel("apparmor/exec", f"exec {process.apparmor_profile}"))
    if process.selinux_label:
        steps.append(identity.SetSecurityLabel("exec", process.selinux_label))
    if process.no_new_privileges:
        steps.append(identity.SetNoNewPrivileges())
    elif seccomp:
        steps.append(identity.InstallSeccomp(*seccomp))
    if process.rlimits or process.oom_score_adj is not None:
        steps.append(identity.AskForLimits())
    user = process.user
    steps.append(
        identity.BecomeUser(
            user.uid,
            user.gid,
            user.additional_gids,
            user.umask,
            process.cwd,
            _capabilities(process, host, plan),
            host.last_capability,
        )
    )
    if process.no_new_privileges and seccomp:
        steps.append(identity.InstallSeccomp(*seccomp))
    return steps


def _capabilities(process: Process, host: Host, plan: Plan) -> identity.CapabilitySets:
    """The sets as asked for, as far as we have them ourselves; what is missing is reported, not refused.

    No capabilities in the document means none in the process. A host that lacks one (a nested or hardened one) can
    still run what does not use it; that Docker's `--privileged` asks for all of them is the usual case.
    """
    wanted = process.capabilities
    if wanted is None:
        return identity.CapabilitySets(0, 0, 0, 0, 0)
    everything = (*wanted.bounding, *wanted.effective, *wanted.permitted, *wanted.inheritable, *wanted.ambient)
    if unknown := sorted(set(caps.unknown(everything))):
        plan.warnings.append(f"ignoring unknown or unavailable capabilities: {unknown}")
    known = (1 << host.last_capability + 1) - 1
    if missing := caps.mask(everything) & ~host.permitted & known:
        plan.warnings.append(f"this host cannot give {', '.join(caps.names(missing))}: the container runs without")
    have = host.permitted & known
    permitted = caps.mask(wanted.permitted) & have
    inheritable = caps.mask(wanted.inheritable) & have
    return identity.CapabilitySets(
        bounding=caps.mask(wanted.bounding) & have,
        effective=caps.mask(wanted.effective) & permitted,
        permitted=permitted,
        inheritable=inheritable,
        # An ambient capability must be permitted and inheritable (capabilities(7)); runc passes over others.
        ambient=caps.mask(wanted.ambient) & permitted & inheritable,
    )


def _scheduling(process: Process) -> Step:
    policy, priority, nice = None, 0, 0
    if (scheduler := process.scheduler) is not None:
        if scheduler.policy not in _SCHED_POLICIES:
            raise BadConfig(f"invalid scheduler policy: {scheduler.policy!r}")
        if scheduler.flags:
            raise BadConfig("scheduler.flags is not supported by this runtime")
        policy, priority, nice = _SCHED_POLICIES[scheduler.policy], scheduler.priority, scheduler.nice
    io = None
    if (io_priority := process.io_priority) is not None:
        if io_priority.io_class not in _IO_CLASSES:
            raise BadConfig(f"invalid ioPriority.Class: {io_priority.io_class!r}")
        io = (_IO_CLASSES[io_priority.io_class], io_priority.priority)
    return identity.SetScheduling(policy, priority, nice, io)
