"""What is different for who is not root: all rights come from a user namespace."""

from __future__ import annotations

from groundplane.runtime.validate import BadConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.oci.runtime import Config
    from groundplane.oci.runtime_linux import IdMapping


def check(config: Config) -> None:
    """Refuse what nobody but root can have, in runc's words. Raises BadConfig."""
    if not any(n.type == "user" for n in config.linux.namespaces):
        raise BadConfig("rootless container requires user namespaces")
    if config.linux.net_devices:
        raise BadConfig("network devices are not supported in rootless containers")
    profile = config.linux.seccomp
    if profile and any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        # pidfd_getfd(2) asks as ptrace(2) does: until its program runs, only root may look into a process of ours.
        raise BadConfig("linux.seccomp: SCMP_ACT_NOTIFY is not supported in rootless containers")
    for kind, mappings in (("uid", config.linux.uid_mappings), ("gid", config.linux.gid_mappings)):
        for mount in config.mounts:
            for option in mount.options:
                name, _, number = option.partition("=")
                if name == kind and mappings and not _is_mapped(number, mappings):
                    problem = f"cannot specify {kind}= mount options for unmapped {kind} in rootless containers"
                    raise BadConfig(f"invalid mount {mount.destination}: {problem}")


def _is_mapped(number: str, mappings: tuple[IdMapping, ...]) -> bool:
    return number.isdecimal() and any(0 <= int(number) - one.container_id < one.size for one in mappings)
