"""What is different for who is not root: rights come from a user namespace, and a cgroup only from delegation."""

from __future__ import annotations

import errno

from groundplane.kernel.cgroups.contract import Limits
from groundplane.kernel.errors import KernelError
from groundplane.runtime.resources import limits_of
from groundplane.runtime.validate import BadConfig
from groundplane.runtime.wording import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.oci.runtime import Config
    from groundplane.oci.runtime_linux import IdMapping


def check(config: Config) -> None:
    """Refuse what nobody but root can have, in runc's words. Raises BadConfig."""
    if not any(n.type == "user" for n in config.linux.namespaces):
        raise BadConfig("rootless container requires user namespaces")
    for kind, mappings in (("uid", config.linux.uid_mappings), ("gid", config.linux.gid_mappings)):
        for mount in config.mounts:
            for option in mount.options:
                name, _, number = option.partition("=")
                if name == kind and mappings and not _is_mapped(number, mappings):
                    problem = f"cannot specify {kind}= mount options for unmapped {kind} in rootless containers"
                    raise BadConfig(f"invalid mount {mount.destination}: {problem}")


def _is_mapped(number: str, mappings: tuple[IdMapping, ...]) -> bool:
    return number.isdecimal() and any(0 <= int(number) - one.container_id < one.size for one in mappings)


def permitted_cgroup(groups: Groups, cgroup: str, config: Config) -> str:
    """`cgroup` where we may make it (delegation, cgroups(7)), else none, if the document can do without (as runc).

    Raises BadConfig, KernelError.
    """
    try:
        groups.create(cgroup)
        return cgroup
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        if config.linux.cgroups_path:
            raise BadConfig(f"unable to apply cgroup configuration: {words(error)}") from error
    limits, none = limits_of(config.linux.resources), Limits()
    limits.devices = None  # a user cannot make device nodes, so there is nothing to guard
    if any(getattr(limits, name) not in (getattr(none, name), [], ()) for name in Limits.__slots__):
        raise BadConfig(
            "unable to apply cgroup configuration: limits are asked for, and we may not make a cgroup"
        )
    return ""
