"""What `state` and `list` share: a container's status with the cgroup's freezer taken into account."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.state import Container


def status_of(container: Container) -> str:
    """`created`, `running`, `paused` or `stopped`."""
    status = container.status()
    if status != "running":
        return status
    from groundplane.kernel.cgroups import registry  # late: only a running container can be paused

    return "paused" if registry.detect().frozen(container.cgroup) else status
