"""Pods and pod templates (k8s.io/kubernetes pkg/apis/core/v1/defaults.go and zz_generated.defaults.go)."""

from __future__ import annotations

import re
from typing import Any

from groundplane.kinds import quantities
from groundplane.kinds.defaults import volumes

Object = dict[str, Any]

# distribution/reference: [domain/]path[:tag][@digest], path in lower case
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*(?::[0-9]+)?/"
    r"|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


def pod(obj: Object) -> None:
    """A Pod: a template's defaults, and those that only a running pod has."""
    spec = obj["spec"]
    for name in ("containers", "initContainers"):
        for container in spec.get(name) or ():
            _requests_follow_limits(container["resources"])
    if "enableServiceLinks" not in spec:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        _host_ports(spec)
    pod_spec(spec)
    if "resources" in spec:
        _pod_level_requests(spec)


def template(obj: Object | None) -> None:
    """A PodTemplateSpec."""
    if obj is not None:
        pod_spec(obj["spec"])


def pod_spec(spec: Object) -> None:
    """What pods and templates have in common."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    # conversion: the old name follows the new one, and stands in for it where it is alone
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for one in spec.get(name) or ():
            container(one)
    for volume in spec.get("volumes") or ():
        volumes.pod_volume(volume)
    if "overhead" in spec:
        resource_list(spec["overhead"])
    if "resources" in spec:
        resource_lists(spec["resources"])


def container(obj: Object) -> None:
    """A Container, or an EphemeralContainer."""
    if not obj.get("imagePullPolicy"):
        obj["imagePullPolicy"] = pull_policy(obj.get("image", ""))
    if not obj.get("terminationMessagePath"):
        obj["terminationMessagePath"] = "/dev/termination-log"
    if not obj.get("terminationMessagePolicy"):
        obj["terminationMessagePolicy"] = "File"
    for port in obj.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in obj.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            if "fieldRef" in source and not source["fieldRef"].get("apiVersion"):
                source["fieldRef"]["apiVersion"] = "v1"
            if "fileKeyRef" in source:
                source["fileKeyRef"].setdefault("optional", False)
    if obj["resources"]:
        resource_lists(obj["resources"])
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in obj:
            _probe(obj[name])
    if "lifecycle" in obj:
        for name in ("postStart", "preStop"):
            if name in obj["lifecycle"]:
                _http_get(obj["lifecycle"][name])


def pull_policy(image: str) -> str:
    """Always where the image's tag is `latest`, said or implied; IfNotPresent otherwise, also for a bad reference."""
    match = _REFERENCE.fullmatch(image)
    if match is None:
        return "IfNotPresent"
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def resource_lists(requirements: Object) -> None:
    """Limits and requests of a container, pod or claim."""
    for name in ("limits", "requests"):
        if name in requirements:
            resource_list(requirements[name])


def resource_list(amounts: Object) -> None:
    """Amounts finer than a thousandth are rounded up to one."""
    for name, amount in amounts.items():
        if amount[-1:] in "nu" or "e-" in amount:
            quantity = quantities.parse(amount)
            amounts[name] = str(quantities.Quantity(quantity.milli * 10**6, quantity.form))


def _probe(obj: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not obj.get(name):
            obj[name] = value
    _http_get(obj)
    if "grpc" in obj and obj["grpc"].get("service") is None:  # not omitempty: absent shows as null
        obj["grpc"]["service"] = ""


def _http_get(handler: Object) -> None:
    action = handler.get("httpGet")
    if action is not None:
        if not action.get("path"):
            action["path"] = "/"
        if not action.get("scheme"):
            action["scheme"] = "HTTP"


def _requests_follow_limits(requirements: Object) -> None:
    limits = requirements.get("limits")
    if limits:
        requests = requirements.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _host_ports(spec: Object) -> None:
    for name in ("containers", "initContainers"):
        for one in spec.get(name) or ():
            for port in one.get("ports") or ():
                if not port.get("hostPort") and port["containerPort"]:
                    port["hostPort"] = port["containerPort"]


def _pod_level_requests(spec: Object) -> None:
    """KEP-2837: a pod's own requests default to its containers' sum, else to its own limits."""
    limits = spec["resources"].get("limits")
    if not limits:
        return
    requests = spec["resources"].get("requests") or {}
    for name in limits:
        if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
            continue
        found = [c["resources"].get("requests", {}).get(name) for c in spec.get("containers") or ()]
        amounts = [quantities.parse(amount) for amount in found if amount is not None]
        if name not in requests and amounts:
            requests[name] = str(quantities.Quantity(sum(a.nano for a in amounts), amounts[0].form))
        requests.setdefault(name, limits[name])
    if requests:
        spec["resources"]["requests"] = requests
