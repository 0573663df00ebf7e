"""From documents to steps: pure, but for what the host must say about itself (`Host`).

A *plan* is everything that the inside stage will do, decided before the new process exists: the flags of its clone,
the namespaces its parent must choose for it, the steps in order, and the program at the end.
"""

from __future__ import annotations

import os

from groundplane.kernel import caps
from groundplane.kernel.calls.process import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER
from groundplane.oci.runtime import Process
from groundplane.oci.runtime_reader import Reader
from groundplane.runtime import options, plan_process
from groundplane.runtime.hooks import hook_state
from groundplane.runtime.program import environment
from groundplane.runtime.steps import devices, identity, labels, mounts, namespaces, paths, rootfs, terminal
from groundplane.runtime.steps.hooks import AskForHooks, RunHooks
from groundplane.runtime.validate import BadConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.kernel.cgroups.contract import View
    from groundplane.oci.runtime import Config, Mount
    from groundplane.runtime.steps.base import Step

_PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}  # personality(2)


# What waits in a container whose document has no process: nothing that could be started.
NO_PROCESS = Process(Reader({"cwd": "/"}, "process"))


class Host:
    """What a plan needs to know of the host: the capabilities we may give, the kernel's highest one, who we are."""

    __slots__ = ("last_capability", "permitted", "privileged")

    def __init__(self, permitted: int, last_capability: int, *, privileged: bool = True) -> None:
        self.permitted = permitted
        self.last_capability = last_capability
        self.privileged = privileged  # we are root; else only a user namespace gives us rights (rootless)

    @classmethod
    def look(cls) -> Host:
        sets = caps.current()
        return cls(sets["CapPrm"] & sets["CapBnd"], caps.last(), privileged=os.geteuid() == 0)


class Plan:
    """What to do inside, in order, and what outside must do for it."""

    __slots__ = (
        "args",
        "clone_flags",
        "enters",
        "environment",
        "join",
        "new_network",
        "new_time",
        "parent_namespaces",
        "privileged",
        "start_hooks",
        "steps",
        "warnings",
    )

    def __init__(self, process: Process, clone_flags: int, *, privileged: bool) -> None:
        self.clone_flags = clone_flags
        self.privileged = privileged
        self.parent_namespaces: list[tuple[str, str]] = []  # pid and time by path: only a parent can choose them
        self.join: Step | None = None  # what a process between us and the new one enters first (stages/between.py)
        self.enters = False  # whether outside lets it into cgroups while it is busy (v1)
        self.new_time = False  # whether that one makes a time namespace
        self.new_network = False  # whether outside makes a network namespace while inside is busy
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
    enters: bool = False,
    keyring: bool = True,
    pivot: bool = True,
    seccomp: tuple[bytes, int] | None = None,
) -> Plan:
    """The plan for a container's init. `root` is the absolute root path, `seccomp` its compiled profile.

    `enters`: outside will let it into cgroups that it is not born in. `keyring` and `pivot` false are runc's
    --no-new-keyring and --no-pivot.

    Raises BadConfig, ProgramError.
    """
    process = config.process or NO_PROCESS
    if not host.privileged:
        from groundplane.runtime import rootless  # late: for those who are not root

        rootless.check(config)
    plan = Plan(process, _clone_flags(config), privileged=host.privileged)
    plan.enters = enters
    plan.steps += _isolation(config, plan, f"_ses.{id}" if keyring else "")
    mount_namespace = next((n for n in config.linux.namespaces if n.type == "mount"), None)
    shared = mount_namespace is None or bool(mount_namespace.path)  # others live in it: its root is not ours to swap
    if shared:
        plan.steps.append(rootfs.ShareRoot(root, ours=mount_namespace is None))
    else:
        plan.steps.append(rootfs.PrepareRoot(root, config.linux.rootfs_propagation))
    plan.steps += _mounts(config, plan, bundle, root, views)
    if _sets_up_dev(config):
        plan.steps += [_devices(config), devices.LinkDevices()]
    hooks = config.hooks
    state = hook_state(id, bundle, config)
    if hooks.prestart or hooks.create_runtime:
        plan.steps.append(AskForHooks())
    if hooks.create_container:
        plan.steps.append(RunHooks("createContainer", hooks.create_container, state, plan.environment))
    if shared:
        plan.steps.append(rootfs.ChangeRoot())
    else:
        plan.steps.append(rootfs.PivotRoot() if pivot else rootfs.MoveRoot(root))
    if console:
        plan.steps.append(terminal.OpenConsole(process.console_size, process.user.uid, bind=True))
        plan.steps.append(terminal.TakeTerminal())
    plan.steps += _finish_root(config)
    plan.steps += [namespaces.EnterGroups()] if enters else []
    mapped = any(n.type == "user" for n in config.linux.namespaces)
    plan.steps += plan_process.steps(process, host, plan.warnings, seccomp, mapped=mapped)
    if hooks.start_container:
        state = {**state, "status": "created"}
        plan.start_hooks = RunHooks("startContainer", hooks.start_container, state, plan.environment)
    return plan


def plan_exec(
    process: Process,
    host: Host,
    *,
    descriptors: list[int],
    flags: int,
    console: bool,
    enters: bool = False,
    keyring: str = "",
    personality: str = "",
    seccomp: tuple[bytes, int] | None = None,
) -> Plan:
    """The plan for a process beside an init: `descriptors` are its pidfd and, where its mount namespace is not its own,
    its root directory; `flags` are the namespaces where it differs from us.
    """
    plan = Plan(process, 0, privileged=host.privileged)
    plan.enters = enters
    mapped = bool(flags & CLONE_NEWUSER)
    if mapped:
        plan.join = namespaces.JoinProcess(descriptors, flags)
    else:  # PID and time are chosen by the parent; the rest are entered by the child, all at once
        plan.steps.append(namespaces.JoinProcess(descriptors, flags & ~(CLONE_NEWPID | CLONE_NEWTIME)))
    plan.steps.append(namespaces.EnterRoot(descriptors))
    plan.steps += plan_process.session(keyring, process.selinux_label)
    if console:
        plan.steps.append(terminal.OpenConsole(process.console_size, process.user.uid, bind=False))
        plan.steps.append(terminal.TakeTerminal())
    if personality:
        plan.steps.append(identity.SetPersonality(_PERSONALITIES[personality]))
    plan.steps += [namespaces.EnterGroups()] if enters else []
    plan.steps += plan_process.steps(process, host, plan.warnings, seccomp, mapped=mapped)
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
    # What is new must belong to the user namespace that is joined, so the clone itself must happen inside it.
    between = any(n.type == "user" and n.path for n in config.linux.namespaces)
    for namespace in config.linux.namespaces:
        chosen = namespace.type in ("pid", "time") or _before_user(namespace.type, plan)
        if namespace.path and chosen and not between:
            plan.parent_namespaces.append((namespace.type, namespace.path))
        elif namespace.path:
            joined.append((namespace.type, namespace.path))
        elif namespace.type == "time" and between:
            plan.new_time = True
        elif namespace.type == "time":
            plan.parent_namespaces.append(("time", ""))
    if plan.clone_flags & CLONE_NEWUSER:
        steps.append(namespaces.BecomeMapped(plan.clone_flags & ~(CLONE_NEWUSER | CLONE_NEWPID)))
        plan.clone_flags &= CLONE_NEWUSER | CLONE_NEWPID
    if between:
        plan.join = namespaces.JoinNamespaces(joined)
    elif joined:
        steps.append(namespaces.JoinNamespaces(joined))
    steps += plan_process.session(keyring, config.process.selinux_label if config.process else "")
    return steps


def _network(config: Config, plan: Plan) -> list[Step]:
    """What belongs to the network namespace. A new one is made by outside, where no user namespace has to own it."""
    steps: list[Step] = []
    if plan.clone_flags & CLONE_NEWNET and plan.join is None:
        plan.clone_flags &= ~CLONE_NEWNET
        plan.new_network = True
        steps.append(namespaces.EnterNetwork())
    elif any(n.type == "network" and not n.path for n in config.linux.namespaces):
        steps.append(namespaces.RaiseLoopback())
    if config.linux.net_devices:
        steps.append(namespaces.AskForNetDevices())
    return steps


def _before_user(kind: str, plan: Plan) -> bool:
    """Whether a namespace must be entered before the new user namespace, whose root has no right to enter it."""
    return bool(plan.clone_flags & CLONE_NEWUSER) and kind not in ("user", "mount")


# An instance of sysfs shows the network namespace of who makes it; the cgroups' step waits for what outside says later.
_AFTER_NETWORK = ("sysfs", "cgroup", "cgroup2")


def _mounts(config: Config, plan: Plan, bundle: str, root: str, views: Sequence[View]) -> list[Step]:
    cgroup_namespace = any(n.type == "cgroup" and not n.path for n in config.linux.namespaces)
    steps: list[Step] = []
    network = _network(config, plan)
    for index, mount in enumerate(config.mounts):
        if mount.type in _AFTER_NETWORK:
            steps += network
            network = []
        parsed = options.parse(mount.options)
        destination = _destination(mount.destination, root)
        if parsed.remount:
            steps.append(mounts.Remount(destination, parsed))
        elif mount.type == "bind" or parsed.bind:
            steps.append(_bind(config, plan, index, bundle, destination, parsed))
        elif mapped_mount(mount, parsed):
            raise BadConfig(f"invalid mount {destination}: id-mapped mounts are only supported for bind-mounts")
        elif mount.type in ("cgroup", "cgroup2"):
            steps.append(mounts.MountCgroups(destination, parsed, views, namespace=cgroup_namespace))
        elif not mount.type:
            raise BadConfig(f"invalid mount {destination}: it has neither a type nor the option bind")
        else:
            source = mount.source or mount.type
            steps.append(mounts.MountFilesystem(mount.type, source, destination, parsed, config.linux.mount_label))
            if mount.type == "mqueue" and config.linux.mount_label:
                steps.append(labels.LabelFile(destination, config.linux.mount_label))
    steps += network
    if cgroup_namespace and not any(isinstance(s, mounts.MountCgroups) for s in steps):
        steps.append(mounts.NewCgroupNamespace())
    return steps


def _destination(path: str, root: str) -> str:
    """A mount's place in the container; one that begins with the root's own path on the host is without it (runc)."""
    path = path if path.startswith("/") else f"/{path}"
    return path[len(root) :] if path.startswith(f"{root}/") else path


def mapped_mount(mount: Mount, parsed: options.Options) -> bool:
    """Whether the mount's owners are mapped (config.md, "Mounts": idmap, ridmap, uidMappings, gidMappings)."""
    return parsed.idmap or bool(mount.uid_mappings or mount.gid_mappings)


def _bind(
    config: Config, plan: Plan, index: int, bundle: str, destination: str, parsed: options.Options
) -> mounts.BindMount:
    mount = config.mounts[index]
    if parsed.data:  # runc up to 1.1 passes over them, later ones refuse
        plan.warnings.append(f"mount {destination}: {','.join(parsed.data)}: a bind mount has no options of its own")
    if not mount.source:
        raise BadConfig(f"invalid mount {destination}: a bind mount needs a source")
    source = mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"
    if not mapped_mount(mount, parsed):
        return mounts.BindMount(source, destination, parsed)
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise BadConfig(f"invalid mount {destination}: id-mapped mounts must have both uidMappings and gidMappings")
    if not mount.uid_mappings and not any(n.type == "user" for n in config.linux.namespaces):
        problem = "id-mapped mounts without mappings of their own need a user namespace"
        raise BadConfig(f"invalid mount {destination}: {problem}")
    return mounts.BindMount(source, destination, parsed, index)


def _sets_up_dev(config: Config) -> bool:
    """Not where the document binds a /dev of its own: its nodes are its owner's (runc does the same)."""
    for mount in config.mounts:
        if mount.destination.rstrip("/") == "/dev" and (mount.type == "bind" or {"bind", "rbind"} & set(mount.options)):
            return False
    return True


def _devices(config: Config) -> Step:
    nodes = {node.path: node for node in devices.DEFAULT_NODES}
    given: set[str] = set()
    for device in config.linux.devices:
        mode = 0o666 if device.file_mode is None else device.file_mode
        path = device.path if device.path.startswith("/") else f"/{device.path}"
        if path in given or path == "/dev/ptmx":
            continue  # the first one wins, as with runc and crun; ptmx is a link (config-linux.md, "Default Devices")
        given.add(path)
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
    if dev_readonly or root.readonly:
        steps.append(rootfs.FinishRoot(readonly=root.readonly, dev_readonly=dev_readonly))
    if config.hostname or config.domainname:
        steps.append(namespaces.SetNames(config.hostname, config.domainname))
    if linux.sysctl:
        steps.append(namespaces.SetSysctls(linux.sysctl))
    if linux.readonly_paths:
        steps.append(paths.ReadOnlyPaths(linux.readonly_paths))
    if linux.masked_paths:
        steps.append(paths.MaskPaths(linux.masked_paths))
    if linux.rootfs_propagation:
        steps.append(rootfs.SetPropagation(linux.rootfs_propagation))
    if linux.personality:
        steps.append(identity.SetPersonality(_PERSONALITIES[linux.personality.domain]))
    return steps
