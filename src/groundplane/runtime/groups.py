"""A container's control groups: looked at before, made with their limits, and taken away."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.resources import cgroup_owner, limits_of, notices_of
from groundplane.runtime.wording import cgroup_words, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.oci.runtime import Config


def create_group(create: Callable[[str], None], cgroup: str) -> None:
    """Make it by `create`, all of it or the v2 one alone. Raises LaunchError, in runc's words."""
    try:
        create(cgroup)
    except GroundError as error:
        raise LaunchError(f"unable to apply cgroup configuration: {words(error)}") from error


def make_group(groups: Groups, cgroup: str, config: Config, *, lenient: bool) -> list[str]:
    """Make it with its limits; sentences about what could not be granted. Raises LaunchError, in runc's words."""
    create_group(groups.create, cgroup)
    resources = config.linux.resources
    try:
        degraded = groups.set(cgroup, limits_of(resources))
        if degraded and not lenient:
            raise LaunchError(degraded[0])
        if (owner := cgroup_owner(config)) is not None:
            groups.delegate(cgroup, owner)
    except GroundError as error:
        problem = "error during container init: error setting cgroup config for procHooks process"
        raise LaunchError(f"{problem}: {cgroup_words(error)}") from error
    return degraded + notices_of(resources)


def missing_parents(groups: Groups, cgroup: str) -> list[str]:
    """The parents of a group that are not there yet, deepest first. Raises LaunchError where it is somebody's.

    Asked before anything is made, so that a failure takes nothing of another's away.
    """
    if cgroup and groups.exists(cgroup) and groups.processes(cgroup):
        raise LaunchError(f"container's cgroup is not empty: {cgroup} has processes in it")
    missing: list[str] = []
    parent = cgroup.rpartition("/")[0]
    while parent and not groups.exists(parent):
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    if (cgroup and groups.frozen(cgroup)) or (parent and groups.frozen(parent)):
        raise LaunchError("container's cgroup unexpectedly frozen")  # its init would never get to say anything
    return missing


def undo_group(groups: Groups, cgroup: str, parents: Sequence[str]) -> None:
    """After a failed creation: remove it, and the `parents` that missing_parents() had named."""
    if cgroup:
        remove_group(groups, cgroup)
    for parent in parents:
        groups.prune(parent)


def remove_group(groups: Groups, cgroup: str) -> None:
    """Remove it with all below it; who is still in it is killed."""
    groups.prune(cgroup)  # the usual end: nothing is left in it, and ten calls do it, not a hundred
    if groups.exists(cgroup):
        groups.kill(cgroup)
        groups.remove(cgroup)
