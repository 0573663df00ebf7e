"""What verbs that look at a container share: its status with the cgroup's freezer taken into account."""

from __future__ import annotations

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.contract import Groups
    from groundplane.runtime.state import Container


def status_of(container: Container) -> str:
    """`creating`, `created`, `running`, `paused` or `stopped`."""
    status = container.status()
    if status not in ("created", "running") or not container.cgroup:
        return status
    from groundplane.kernel.cgroups import registry  # late: only one with processes can be paused

    return "paused" if registry.detect().frozen(container.cgroup) else status


def document_of(container: Container) -> dict[str, object]:
    """What `state` and each entry of `list` say: runtime-spec's "State", and runc's additions to it."""
    status = status_of(container)
    return {
        "ociVersion": container.config.get("ociVersion", ""),
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": container.created,
    }


def groups_for(container: Container, what: str) -> Groups:
    """The driver, for what cannot be done without the container's own cgroup. Raises GroundError."""
    if not container.cgroup:  # made rootless, where nobody let us have one
        raise GroundError(f"cannot {what} a container without a cgroup of its own")
    from groundplane.kernel.cgroups import registry

    return registry.detect()
