"""What users and tools read when a pod cannot be placed: upstream's sentences, word for word in their structure.

pkg/scheduler/framework/types.go `FitError.Error`, plugins/defaultpreemption. The words "no new claims to deallocate"
come from the DynamicResources plugin, which upstream always runs since 1.34; who reads the message expects them.
"""

from __future__ import annotations

from collections.abc import Mapping

from groundplane.scheduler.cycle import Misfit

NO_NODES = "no nodes available to schedule pods"


def misfit_message(misfit: Misfit) -> str:
    """`0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu. no new claims to deallocate, preemption: …`"""
    if not misfit.nodes:
        return NO_NODES
    return f"{_available(misfit.nodes, misfit.reasons)} no new claims to deallocate, preemption: {_preemption(misfit)}"


def _preemption(misfit: Misfit) -> str:
    open_nodes = misfit.nodes - misfit.hopeless
    reasons = {
        "No preemption victims found for incoming pod": open_nodes,
        "Preemption is not helpful for scheduling": misfit.hopeless,
    }
    return _available(misfit.nodes, {reason: count for reason, count in reasons.items() if count})


def _available(nodes: int, reasons: Mapping[str, int]) -> str:
    return (
        f"0/{nodes} nodes are available: {', '.join(sorted(f'{count} {reason}' for reason, count in reasons.items()))}."
    )
