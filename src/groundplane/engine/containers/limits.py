"""From the contract's resources to the kernel's limits."""

from __future__ import annotations

from groundplane.engine.contract import Resources
from groundplane.kernel.cgroups.contract import UNLIMITED, Limits


def limits(wanted: Resources) -> Limits:
    """The kernel's limits of a specification; 0 is unlimited."""
    return Limits(
        cpu_shares=wanted.cpu_shares or None,
        cpu_quota=wanted.cpu_quota or UNLIMITED,
        cpu_period=wanted.cpu_period or None,
        cpuset_cpus=wanted.cpuset_cpus or None,
        memory=wanted.memory or UNLIMITED,
        pids=wanted.pids or UNLIMITED,
    )
