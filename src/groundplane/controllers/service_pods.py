"""What EndpointSlice and Endpoints controllers share: which pods back a Service, and at which ports.

k8s.io/endpointslice/util, pkg/api/v1/endpoints. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.client.contract import Object
from groundplane.client.objects import is_deleting, labels_of, name_of, namespace_of, uid_of
from groundplane.controllers.pods import is_finished, is_ready

HEADLESS_LABEL = "service.kubernetes.io/headless"


def selects(service: Object, pod: Object) -> bool:
    """A Service without a selector selects nothing: its endpoints are somebody else's."""
    selector: dict[str, str] = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and selector.items() <= labels_of(pod).items()


def is_headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def addresses_of(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    found = [each["ip"] for each in status.get("podIPs") or () if each.get("ip")]
    return found or ([status["podIP"]] if status.get("podIP") else [])


def can_back(pod: Object, *, include_terminating: bool) -> bool:
    """endpointslice/util ShouldPodBeInEndpoints."""
    if is_finished(pod) or not addresses_of(pod):
        return False
    return include_terminating or not is_deleting(pod)


def hostname_of(service: Object, pod: Object) -> str:
    """The name that DNS gives the pod below a Service that is its `subdomain`."""
    spec = pod.get("spec") or {}
    wanted = spec.get("hostname") and spec.get("subdomain") == name_of(service)
    return spec["hostname"] if wanted and namespace_of(service) == namespace_of(pod) else ""


def target_of(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def ports_for(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as this pod offers them; a named target port that the pod has not is left out."""
    found = []
    for port in (service.get("spec") or {}).get("ports") or ():
        number = _number(port, pod)
        if number is None:
            continue
        entry: Object = {"name": port.get("name") or "", "protocol": port.get("protocol") or "TCP", "port": number}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        found.append(entry)
    return found


def _number(port: Mapping[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort") or port.get("port")
    if not isinstance(target, str):
        return target
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for offered in container.get("ports") or ():
            same = (offered.get("protocol") or "TCP") == (port.get("protocol") or "TCP")
            if same and offered.get("name") == target:
                return int(offered["containerPort"])
    return None


def matters_to_services(old: Object, new: Object) -> bool:
    """Whether a pod's update can change endpoints: most are of other things (endpointslice/util PodChanged)."""
    return (
        labels_of(old) != labels_of(new)
        or is_deleting(old) != is_deleting(new)
        or is_ready(old) != is_ready(new)
        or is_finished(old) != is_finished(new)
        or addresses_of(old) != addresses_of(new)
        or _place(old) != _place(new)
    )


def services_of(services: Sequence[Object], *pods: Object) -> list[Object]:
    """The Services that select any of these states of a pod."""
    return [service for service in services if any(selects(service, pod) for pod in pods)]


def _place(pod: Object) -> tuple[Any, ...]:
    spec = pod.get("spec") or {}
    return spec.get("nodeName"), spec.get("hostname"), spec.get("subdomain")
