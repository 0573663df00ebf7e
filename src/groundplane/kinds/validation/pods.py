"""Pods and pod templates, new and changed."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import amounts, containers, internal, meta, names, security, selection, volumes
from groundplane.kinds.validation.errors import Errors, duplicate, forbidden, invalid, required, unsupported

Object = dict[str, Any]

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_SERVERS, _MAX_SEARCHES = 3, 32


def create(pod: Object) -> Errors:
    return spec(pod["spec"], "spec")


def template(found: Object, path: str) -> Errors:
    """A PodTemplateSpec: its labels, annotations and spec."""
    errors = meta.label_errors(found["metadata"].get("labels"), f"{path}.labels")
    errors += meta.annotation_errors(found["metadata"].get("annotations"), f"{path}.annotations")
    errors += spec(found["spec"], f"{path}.spec")
    if found["spec"].get("ephemeralContainers"):
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return errors


def spec(found: Object, path: str) -> Errors:
    """A PodSpec (ValidatePodSpec)."""
    by_name, errors = volumes.pod_volumes(found.get("volumes") or (), f"{path}.volumes")
    claims = frozenset(claim.get("name", "") for claim in found.get("resourceClaims") or ())
    grace = found.get("terminationGracePeriodSeconds", 30)
    pod = containers.Pod(by_name, claims, grace, found.get("restartPolicy", ""))
    errors += containers.validate(found, path, pod)
    if "resources" in found:
        errors += amounts.requirements(found["resources"], f"{path}.resources", claims)
    if found.get("restartPolicy") not in _RESTART:
        errors.append(_choice(found.get("restartPolicy", ""), f"{path}.restartPolicy", _RESTART))
    if found.get("dnsPolicy") not in _DNS:
        errors.append(_choice(found.get("dnsPolicy", ""), f"{path}.dnsPolicy", _DNS))
    errors += meta.label_errors(found.get("nodeSelector"), f"{path}.nodeSelector")
    if found.get("hostNetwork"):
        errors += security.host_network_ports(found, path)
    if found.get("securityContext"):
        errors += security.pod(found["securityContext"], found, f"{path}.securityContext")
    errors += security.host_users(found, path)
    for index, secret in enumerate(found.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            errors.append(required(f"{path}.imagePullSecrets[{index}].name"))
    if found.get("affinity"):
        errors += selection.affinity(found["affinity"], f"{path}.affinity")
    errors += _dns(found, f"{path}.dnsConfig")
    errors += _gates(found, path)
    if found.get("topologySpreadConstraints"):
        errors += selection.spread(found["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    errors += _names(found, path)
    if "activeDeadlineSeconds" in found and not 1 <= found["activeDeadlineSeconds"] <= 2147483647:
        text = "must be between 1 and 2147483647, inclusive"
        errors.append(invalid(f"{path}.activeDeadlineSeconds", found["activeDeadlineSeconds"], text))
    if found.get("tolerations"):
        errors += selection.tolerations(found["tolerations"], f"{path}.tolerations")
    return errors + _rest(found, path)


def _choice(value: str, path: str, allowed: tuple[str, ...]) -> Any:
    return unsupported(path, value, allowed) if value else required(path)


_NAMES: dict[str, names.Check] = {
    "serviceAccountName": names.subdomain,
    "nodeName": names.subdomain,
    "hostname": names.label,
    "subdomain": names.label,
    "priorityClassName": names.subdomain,
    "runtimeClassName": names.subdomain,
}


def _names(found: Object, path: str) -> Errors:
    errors: Errors = []
    for name, check in _NAMES.items():
        if value := found.get(name):
            errors += [invalid(f"{path}.{name}", value, message) for message in check(value)]
    return errors


def _rest(found: Object, path: str) -> Errors:
    errors: Errors = []
    for index, alias in enumerate(found.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        errors += [invalid(f"{where}.ip", alias.get("ip", ""), m) for m in names.ip_address(alias.get("ip", ""))]
        for number, host in enumerate(alias.get("hostnames") or ()):
            errors += [invalid(f"{where}.hostnames[{number}]", host, message) for message in names.subdomain(host)]
    policy = found.get("preemptionPolicy")
    if policy is not None and policy not in ("Never", "PreemptLowerPriority"):
        errors.append(_choice(policy, f"{path}.preemptionPolicy", ("Never", "PreemptLowerPriority")))
    for name, amount in (found.get("overhead") or {}).items():
        errors += amounts.container_resource(name, f"{path}.overhead[{name}]")
        errors += amounts.amount_errors(name, amount, f"{path}.overhead[{name}]")
    if found.get("os") is not None and found["os"].get("name") not in ("linux", "windows"):
        errors.append(_choice(found["os"].get("name", ""), f"{path}.os.name", ("linux", "windows")))
    return errors


def _dns(found: Object, path: str) -> Errors:
    config, bare = found.get("dnsConfig"), found.get("dnsPolicy") == "None"
    if config is None:
        return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")] if bare else []
    errors: Errors = []
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if bare and not servers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(required(f"{path}.nameservers", text))
    if len(servers) > _MAX_SERVERS:
        errors.append(invalid(f"{path}.nameservers", servers, f"must not have more than {_MAX_SERVERS} nameservers"))
    for index, server in enumerate(servers):
        errors += [invalid(f"{path}.nameservers[{index}]", server, message) for message in names.ip_address(server)]
    if len(searches) > _MAX_SEARCHES:
        errors.append(invalid(f"{path}.searches", searches, f"must not have more than {_MAX_SEARCHES} search paths"))
    if len(" ".join(searches)) > 2048:
        text = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(invalid(f"{path}.searches", searches, text))
    for index, search in enumerate(searches):
        cleaned = search[:-1] if search.endswith(".") and search != "." else search
        for message in () if cleaned == "." else names.subdomain(cleaned):
            errors.append(invalid(f"{path}.searches[{index}]", search, message))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{index}]", "must not be empty"))
    return errors


def _gates(found: Object, path: str) -> Errors:
    errors: Errors = []
    for index, gate in enumerate(found.get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        errors += [
            invalid(where, gate.get("conditionType", ""), m)
            for m in names.qualified_name(gate.get("conditionType", ""))
        ]
    seen: set[str] = set()
    for index, gate in enumerate(found.get("schedulingGates") or ()):
        name, where = gate.get("name", ""), f"{path}.schedulingGates[{index}]"
        errors += [invalid(where, name, message) for message in names.qualified_name(name)]
        if name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    if found.get("schedulingGates") and found.get("nodeName"):
        errors.append(forbidden(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return errors


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def update(new: Object, old: Object) -> Errors:
    """Almost nothing of a pod's spec may change (ValidatePodUpdate)."""
    after, before = new["spec"], old["spec"]
    if after == before:
        return []
    errors: Errors = []
    for name in ("containers", "initContainers"):
        if len(after.get(name) or ()) != len(before.get(name) or ()):
            errors.append(forbidden(f"spec.{name}", "pod updates may not add or remove containers"))
    if errors:
        return errors
    errors += (
        _images(after, "spec") + _deadline(after, before) + _tolerations(after, before) + _fewer_gates(after, before)
    )
    munged = _munged(after, before)
    if munged != before:
        shown = internal.difference("core.v1.PodSpec", munged, before)
        errors.append(forbidden("spec", f"pod updates may not change fields other than {_MUTABLE}\n{shown}"))
    return errors


def _images(after: Object, path: str) -> Errors:
    errors: Errors = []
    for name in ("containers", "initContainers"):
        for index, one in enumerate(after.get(name) or ()):
            image, where = one.get("image", ""), f"{path}.{name}[{index}].image"
            if not image:
                errors.append(required(where))
            elif image != image.strip():
                errors.append(invalid(where, image, "must not have leading or trailing whitespace"))
    return errors


def _deadline(after: Object, before: Object) -> Errors:
    new, old, path = (
        after.get("activeDeadlineSeconds"),
        before.get("activeDeadlineSeconds"),
        "spec.activeDeadlineSeconds",
    )
    if new is not None:
        if not 0 <= new <= 2147483647:
            return [invalid(path, new, "must be between 0 and 2147483647, inclusive")]
        if old is not None and old < new:
            return [invalid(path, new, "must be less than or equal to previous value")]
    elif old is not None:
        return [invalid(path, new, "must not update from a positive integer to nil value")]
    return []


def _tolerations(after: Object, before: Object) -> Errors:
    def kept(one: Object) -> Object:
        return {name: value for name, value in one.items() if name != "tolerationSeconds"}

    new = [kept(one) for one in after.get("tolerations") or ()]
    for one in before.get("tolerations") or ():
        if kept(one) not in new:
            return [
                forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            ]
    return selection.tolerations(after.get("tolerations") or (), "spec.tolerations")


def _fewer_gates(after: Object, before: Object) -> Errors:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for index, gate in enumerate(after.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            text = "only deletion is allowed, but found new scheduling gate " + repr(gate.get("name"))
            return [forbidden(f"spec.schedulingGates[{index}]", text.replace("'", ""))]
    return []


def _munged(after: Object, before: Object) -> Object:
    """The new spec with everything that may change put back."""
    out = dict(after)
    for name in ("containers", "initContainers"):
        if after.get(name):
            pairs = zip(after[name], before[name], strict=True)
            out[name] = [_with_image(one, other) for one, other in pairs]
    gated = bool(before.get("schedulingGates"))
    for name in ("activeDeadlineSeconds", "tolerations", *(("schedulingGates",) if gated else ())):
        _put_back(out, before, name)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        _put_back(out, before, "terminationGracePeriodSeconds")
    if gated and _only_tighter(after, before):
        for name in ("nodeSelector", "affinity"):
            _put_back(out, before, name)
    return out


def _with_image(one: Object, other: Object) -> Object:
    return {**one, "image": other["image"]} if "image" in other else one


def _put_back(out: Object, before: Object, name: str) -> None:
    if name in before:
        out[name] = before[name]
    else:
        out.pop(name, None)


def _only_tighter(after: Object, before: Object) -> bool:
    """While a pod is gated, where it may run can be narrowed (KEP-3838)."""
    old = before.get("nodeSelector") or {}
    new = after.get("nodeSelector") or {}
    return all(new.get(key) == value for key, value in old.items())


def status(new: Object, old: Object) -> Errors:
    """Containers that have ended for good stay so (ValidatePodStatusUpdate)."""
    errors: Errors = []
    policy = old["spec"].get("restartPolicy")
    name = new["status"].get("nominatedNodeName")
    if name:
        errors += [invalid("status.nominatedNodeName", name, message) for message in names.subdomain(name)]
    sidecars = {c.get("name") for c in old["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    if policy != "Always":
        for kind in ("containerStatuses", "initContainerStatuses"):
            errors += _ended(
                new["status"].get(kind) or (), old["status"].get(kind) or (), f"status.{kind}", policy, sidecars
            )
    for index, address in enumerate(new["status"].get("podIPs") or ()):
        ip = address.get("ip", "")
        errors += [invalid(f"status.podIPs[{index}]", ip, message) for message in names.ip_address(ip)]
    return errors


def _ended(after: Any, before: Any, path: str, policy: Any, sidecars: set[Any]) -> Errors:
    now = {one.get("name"): (index, one) for index, one in enumerate(after)}
    for one in before:
        ended = (one.get("state") or {}).get("terminated")
        if ended is None or one.get("name") in sidecars or (policy == "OnFailure" and ended.get("exitCode", 0) != 0):
            continue
        index, current = now.get(one.get("name"), (0, None))
        if current is not None and (current.get("state") or {}).get("terminated") is None:
            return [forbidden(f"{path}[{index}].state", "may not be transitioned to non-terminated state")]
    return []
