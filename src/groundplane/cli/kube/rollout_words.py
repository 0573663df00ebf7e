"""What a Deployment's rollout is doing, in kubectl's sentences. Pure. kubectl: polymorphichelpers/rollout_status.go."""

from __future__ import annotations

from groundplane.cli.kube.session import KubeError
from groundplane.client.contract import Object

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"


def progress(deployment: Object) -> tuple[str, bool]:
    """(sentence, whether it is over). Raises KubeError where the rollout has missed its deadline."""
    name, spec, status = deployment["metadata"]["name"], deployment["spec"], deployment.get("status") or {}
    if int(deployment["metadata"].get("generation") or 0) > int(status.get("observedGeneration") or 0):
        return "Waiting for deployment spec update to be observed...", False
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            raise KubeError(f'error: deployment "{name}" exceeded its progress deadline')
    words = ("replicas", "updatedReplicas", "availableReplicas")
    replicas, updated, available = (int(status.get(word) or 0) for word in words)
    wanted = int(spec.get("replicas", 1))
    waiting = f'Waiting for deployment "{name}" rollout to finish:'
    if updated < wanted:
        return f"{waiting} {updated} out of {wanted} new replicas have been updated...", False
    if replicas > updated:
        return f"{waiting} {replicas - updated} old replicas are pending termination...", False
    if available < updated:
        return f"{waiting} {available} of {updated} updated replicas are available...", False
    return f'deployment "{name}" successfully rolled out', True


def revision_of(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def owned(deployment: Object, sets: list[Object]) -> dict[int, Object]:
    """The Deployment's ReplicaSets by revision."""
    uid = deployment["metadata"]["uid"]
    mine = [s for s in sets if any(o.get("uid") == uid for o in s["metadata"].get("ownerReferences") or ())]
    return {revision_of(s): s for s in mine if revision_of(s)}


def history(sets: dict[int, Object]) -> list[str]:
    """The table of revisions."""
    rows = [("REVISION", "CHANGE-CAUSE")]
    for revision in sorted(sets):
        cause = (sets[revision]["metadata"].get("annotations") or {}).get(CHANGE_CAUSE) or "<none>"
        rows.append((str(revision), cause))
    width = max(len(left) for left, _ in rows) + 2
    return [f"{left:<{width}}{right}" for left, right in rows]


def template_to_restore(deployment: Object, sets: dict[int, Object], wanted: int) -> tuple[int, Object]:
    """(revision, its pod template); 0 means the one before the current one. Raises KubeError.

    The hash label belongs to the ReplicaSet, not to the Deployment's template (rollback.go).
    """
    name, current = deployment["metadata"]["name"], revision_of(deployment)
    if not sets:
        raise KubeError(f'error: no rollout history found for deployment "{name}"')
    revision = wanted or max((r for r in sets if r != max(sets)), default=0)
    if wanted == 0 and revision == 0:
        raise KubeError(f'error: no rollout history found for deployment "{name}"')
    if revision not in sets:
        raise KubeError(f"error: unable to find specified revision {wanted} in history")
    template = sets[revision]["spec"]["template"]
    meta = template.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != "pod-template-hash"}
    found = {**template, "metadata": {**meta, "labels": labels}}
    return (current if found == deployment["spec"]["template"] else revision), found
