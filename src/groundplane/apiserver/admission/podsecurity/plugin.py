"""The PodSecurity plug-in: a namespace's labels say which standard is enforced on pods, and of which people are warned.

pod-security.kubernetes.io/enforce: baseline      refuses pods, warns of workloads whose pods would be refused
pod-security.kubernetes.io/warn: restricted       warns
…/audit, …-version                                 audit goes to audit logs, which are not kept here; standards are
                                                   those of this release, whatever older version is asked for
"""

from __future__ import annotations

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.admission.podsecurity import checks
from groundplane.apiserver.cache.stored import Object

_LABEL = "pod-security.kubernetes.io/"
# Where a workload keeps its pods' template (pod-security-admission/admission, DefaultPodSpecExtractor).
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}


class PodSecurity(Base):
    name = "PodSecurity"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        if operation not in (Operation.CREATE, Operation.UPDATE):
            return False
        if (group, resource) == ("", "pods"):
            return subresource in ("", "ephemeralcontainers")
        return not subresource and (group, resource) in _TEMPLATES

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        pod = _pod(attempt, obj)
        before = _pod(attempt, attempt.old)
        if pod is None or (before is not None and before.get("spec") == pod.get("spec")):
            return
        namespace = attempt.machine.find("", "namespaces", "", attempt.namespace)
        labels = (namespace.meta.get("labels") or {}) if namespace is not None else {}
        enforced, warned = _level(labels, "enforce"), _level(labels, "warn")
        spec, notes = pod.get("spec") or {}, (pod.get("metadata") or {}).get("annotations") or {}
        if attempt.resource == "pods" and (found := checks.complaints(enforced, spec, notes)):
            raise attempt.refuse(f'violates PodSecurity "{enforced}:{_version(labels, "enforce")}": {found}')
        if found := checks.complaints(warned, spec, notes):
            attempt.call.warn(f'would violate PodSecurity "{warned}:{_version(labels, "warn")}": {found}')


def _pod(attempt: Attempt, obj: Object | None) -> Object | None:
    """The pod itself, or a workload's template."""
    for key in _TEMPLATES.get((attempt.group, attempt.resource), ()):
        obj = (obj or {}).get(key)
    return obj


def _level(labels: dict[str, str], mode: str) -> str:
    level = labels.get(_LABEL + mode, "privileged")
    return level if level in checks.LEVELS else "restricted"  # a word that nobody knows is the strictest, as upstream


def _version(labels: dict[str, str], mode: str) -> str:
    return labels.get(f"{_LABEL}{mode}-version") or "latest"
