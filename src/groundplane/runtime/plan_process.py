"""What the process itself is, as steps: user, capabilities, limits, scheduling, labels, filter. Pure, as `plan.py`."""

from __future__ import annotations

from groundplane.kernel import caps
from groundplane.runtime.steps import identity, labels, namespaces
from groundplane.runtime.validate import BadConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.oci.runtime import Process
    from groundplane.runtime.plan import Host
    from groundplane.runtime.steps.base import Step

# linux/sched.h
_SCHED_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


def steps(
    process: Process, host: Host, warnings: list[str], seccomp: tuple[bytes, int] | None, *, mapped: bool
) -> list[Step]:
    """What the process is, in the order that rights allow. `mapped`: it is in a user namespace of its own.

    The later the filter comes, the fewer calls of ours it judges: with no_new_privs it is last of all; without,
    installing it needs CAP_SYS_ADMIN, so capset(2) and prctl(2) follow it, which the profile must allow.
    """
    found: list[Step] = []
    if process.scheduler or process.io_priority:
        found.append(_scheduling(process))
    if process.apparmor_profile:
        found.append(labels.SetLabel("apparmor/exec", f"exec {process.apparmor_profile}"))
    if process.selinux_label:
        found.append(labels.SetLabel("exec", process.selinux_label))
    if process.no_new_privileges:
        found.append(identity.SetNoNewPrivileges())
    if process.rlimits or process.oom_score_adj is not None:
        found.append(identity.AskForLimits())
    user = process.user
    capabilities = _capabilities(process, host, warnings, mapped=mapped)
    early = bool(seccomp) and not process.no_new_privileges
    found.append(
        identity.BecomeUser(
            user.uid,
            user.gid,
            tuple(dict.fromkeys(user.additional_gids)),
            user.umask,
            process.cwd,
            capabilities,
            host.last_capability,
            filtered=early,
        )
    )
    found.append(identity.SetCapabilities(capabilities, host.last_capability))
    if seccomp:
        found.insert(-1 if early else len(found), identity.InstallSeccomp(*seccomp))
    return found


def session(keyring: str, label: str) -> list[Step]:
    """A session with a keyring of its own, which has the SELinux label of the process that shall use it."""
    new = namespaces.NewSession(keyring)
    if not (keyring and label):
        return [new]
    return [labels.SetLabel("keycreate", label), new, labels.SetLabel("keycreate", labels.NONE)]


def _capabilities(process: Process, host: Host, warnings: list[str], *, mapped: bool) -> identity.CapabilitySets:
    """The sets as asked for, as far as we have them ourselves; what is missing is reported, not refused.

    No capabilities in the document means none in the process. A host that lacks one (a nested or hardened one) can
    still run what does not use it; that Docker's `--privileged` asks for all of them is the usual case. In a user
    namespace the first process has them all, over what belongs to that namespace (user_namespaces(7)).
    """
    wanted = process.capabilities
    if wanted is None:
        return identity.CapabilitySets(0, 0, 0, 0, 0)
    everything = (*wanted.bounding, *wanted.effective, *wanted.permitted, *wanted.inheritable, *wanted.ambient)
    if caps.mask(wanted.effective) & ~caps.mask(wanted.permitted):
        raise BadConfig("unable to apply caps: operation not permitted")  # capset(2) says so, whatever the host has
    if unknown := sorted(set(caps.unknown(everything))):
        warnings.append(f"ignoring unknown or unavailable capabilities: {unknown}")
    known = (1 << host.last_capability + 1) - 1
    have = known if mapped else host.permitted & known
    if missing := caps.mask(everything) & ~have & known:
        warnings.append(f"this host cannot give {', '.join(caps.names(missing))}: the container runs without")
    permitted = caps.mask(wanted.permitted) & have
    inheritable = caps.mask(wanted.inheritable) & have
    lost = caps.names(caps.mask(wanted.ambient) & have & ~(permitted & inheritable))
    warnings += [f"can't raise ambient capability {name}: operation not permitted" for name in lost]
    return identity.CapabilitySets(
        bounding=caps.mask(wanted.bounding) & have,
        effective=caps.mask(wanted.effective) & permitted,
        permitted=permitted,
        inheritable=inheritable,
        # An ambient capability must be permitted and inheritable (capabilities(7)); runc warns of others.
        ambient=caps.mask(wanted.ambient) & permitted & inheritable,
    )


def _scheduling(process: Process) -> Step:
    """config.md, "scheduler" and "ioPriority". Raises BadConfig."""
    policy: identity.Policy | None = None
    if (scheduler := process.scheduler) is not None:
        if scheduler.policy not in _SCHED_POLICIES:
            raise BadConfig(f"invalid scheduler policy: {scheduler.policy!r}")
        if unknown := [flag for flag in scheduler.flags if flag not in _SCHED_FLAGS]:
            raise BadConfig(f"invalid scheduler flag: {unknown[0]!r}")
        if scheduler.priority and scheduler.policy not in ("SCHED_FIFO", "SCHED_RR"):
            raise BadConfig("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
        times = (scheduler.runtime, scheduler.deadline, scheduler.period)
        if any(times) and scheduler.policy != "SCHED_DEADLINE":
            raise BadConfig("scheduler runtime/deadline/period can only be specified for SchedDeadline policy")
        flags = sum({_SCHED_FLAGS[flag] for flag in scheduler.flags})
        number = _SCHED_POLICIES[scheduler.policy]
        policy = identity.Policy(number, flags, scheduler.nice, scheduler.priority, times)
    io = None
    if (io_priority := process.io_priority) is not None:
        if io_priority.io_class not in _IO_CLASSES:
            raise BadConfig(f"invalid ioPriority.Class: {io_priority.io_class!r}")
        io = (_IO_CLASSES[io_priority.io_class], io_priority.priority)
    return identity.SetScheduling(policy, io)
