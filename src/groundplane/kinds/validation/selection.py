"""Selectors, affinity, tolerations, taints and spreading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundplane.kinds.validation import meta, names
from groundplane.kinds.validation.errors import (
    DUPLICATE,
    Errors,
    FieldError,
    duplicate,
    forbidden,
    invalid,
    required,
    unsupported,
)

Object = dict[str, Any]

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_IN_TEXT = "must be specified when `operator` is 'In' or 'NotIn'"
_EXISTS_TEXT = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_ORDER_TEXT = "must be specified single value when `operator` is 'Lt' or 'Gt'"


def label_key(key: str, path: str) -> Errors:
    return [invalid(path, key, message) for message in names.qualified_name(key)]


def label_selector(selector: Object | None, path: str) -> Errors:
    """A metav1.LabelSelector; absence is fine here."""
    if selector is None:
        return []
    errors = meta.label_errors(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        errors += _label_requirement(expression, f"{path}.matchExpressions[{index}]")
    return errors


def _label_requirement(expression: Object, path: str) -> Errors:
    errors = _operator_errors(expression, path) + label_key(expression.get("key", ""), f"{path}.key")
    for index, value in enumerate(expression.get("values") or ()):
        errors += [invalid(f"{path}.values[{index}]", value, message) for message in names.label_value(value)]
    return errors


def _operator_errors(expression: Object, path: str) -> Errors:
    """What the four operators of every requirement ask of its values."""
    operator, values = expression.get("operator", ""), expression.get("values")
    if operator in ("In", "NotIn"):
        return [] if values else [required(f"{path}.values", _IN_TEXT)]
    if operator in ("Exists", "DoesNotExist"):
        return [forbidden(f"{path}.values", _EXISTS_TEXT)] if values else []
    return [invalid(f"{path}.operator", operator, "not a valid selector operator")]


def node_selector(selector: Object, path: str) -> Errors:
    """A NodeSelector, which must have a term."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    errors: Errors = []
    for index, term in enumerate(terms):
        errors += node_selector_term(term, f"{path}.nodeSelectorTerms[{index}]")
    return errors


def node_selector_term(term: Object, path: str) -> Errors:
    errors: Errors = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        errors += _node_requirement(expression, f"{path}.matchExpressions[{index}]")
    for index, expression in enumerate(term.get("matchFields") or ()):
        errors += _node_field(expression, f"{path}.matchFields[{index}]")
    return errors


def _node_requirement(expression: Object, path: str) -> Errors:
    if expression.get("operator") in ("Gt", "Lt"):
        one = len(expression.get("values") or ()) == 1
        errors = [] if one else [required(f"{path}.values", _ORDER_TEXT)]
    else:
        errors = _operator_errors(expression, path)
    return errors + label_key(expression.get("key", ""), f"{path}.key")


def _node_field(expression: Object, path: str) -> Errors:
    errors: Errors = []
    operator, values = expression.get("operator", ""), expression.get("values") or ()
    if operator not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", text))
    if expression.get("key") != "metadata.name":
        return [*errors, invalid(f"{path}.key", expression.get("key", ""), "not a valid field selector key")]
    for index, value in enumerate(values):
        errors += [invalid(f"{path}.values[{index}]", value, message) for message in names.subdomain(value)]
    return errors


def affinity(found: Object, path: str) -> Errors:
    errors: Errors = []
    if (node := found.get("nodeAffinity")) is not None:
        errors += _node_affinity(node, f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if (pods := found.get(name)) is not None:
            errors += _pod_affinity(pods, f"{path}.{name}")
    return errors


_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def _node_affinity(found: Object, path: str) -> Errors:
    errors: Errors = []
    if _REQUIRED in found:
        errors += node_selector(found[_REQUIRED], f"{path}.{_REQUIRED}")
    for index, term in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        errors += _weight(term, where)
        errors += node_selector_term(term.get("preference") or {}, f"{where}.preference")
    return errors


def _weight(term: Object, path: str) -> Errors:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_affinity(found: Object, path: str) -> Errors:
    errors: Errors = []
    for index, term in enumerate(found.get(_REQUIRED) or ()):
        errors += _pod_term(term, f"{path}.{_REQUIRED}[{index}]")
    for index, weighted in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        errors += _weight(weighted, where)
        errors += _pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def _pod_term(term: Object, path: str) -> Errors:
    errors = label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for namespace in term.get("namespaces") or ():
        errors += [invalid(f"{path}.namespace", namespace, message) for message in names.label(namespace)]
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        if term.get(name) and term.get("labelSelector") is None:
            errors.append(forbidden(f"{path}.{name}", "must not be specified when labelSelector is not set"))
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + label_key(key, f"{path}.topologyKey")


def tolerations(found: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    for index, one in enumerate(found):
        errors += _toleration(one, f"{path}[{index}]")
    return errors


def _toleration(one: Object, path: str) -> Errors:
    errors: Errors = []
    key, operator, effect = one.get("key", ""), one.get("operator", ""), one.get("effect", "")
    if key:
        errors += label_key(key, f"{path}.key")
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(invalid(f"{path}.operator", operator, text))
    if "tolerationSeconds" in one and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(invalid(f"{path}.effect", effect, text))
    value = one.get("value", "")
    if operator in ("Equal", ""):
        if messages := names.label_value(value):
            errors.append(invalid(f"{path}.operator", value, ";".join(messages)))
    elif operator == "Exists":
        if value:
            errors.append(invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'"))
    else:
        errors.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in EFFECTS:
        errors.append(unsupported(f"{path}.effect", effect, EFFECTS))
    return errors


def taints(found: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(found):
        where = f"{path}[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        errors += label_key(key, f"{where}.key")
        errors += [invalid(f"{where}.value", value, message) for message in names.label_value(value)]
        if effect not in EFFECTS:
            errors.append(unsupported(f"{where}.effect", effect, EFFECTS) if effect else required(f"{where}.effect"))
        if (key, effect) in seen:
            message = f"{duplicate(where, taint).message}: taints must be unique by key and effect pair"
            errors.append(FieldError(DUPLICATE, where, message))
        seen.add((key, effect))
    return errors


def spread(constraints: Iterable[Object], path: str) -> Errors:
    """topologySpreadConstraints."""
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(constraints):
        where = f"{path}[{index}]"
        skew, key, action = one.get("maxSkew", 0), one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")
        if skew <= 0:
            errors.append(invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        errors += (
            [required(f"{where}.topologyKey", "can not be empty")]
            if not key
            else label_key(key, f"{where}.topologyKey")
        )
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            errors.append(unsupported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
        if (key, action) in seen:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        errors += _domains(one, action, where)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if one.get(name) is not None and one[name] not in ("Honor", "Ignore"):
                errors.append(unsupported(f"{where}.{name}", one[name], ("Honor", "Ignore")))
        errors += label_selector(one.get("labelSelector"), f"{where}.labelSelector")
    return errors


def _domains(one: Object, action: str, path: str) -> Errors:
    domains = one.get("minDomains")
    if domains is None:
        return []
    if domains <= 0:
        return [invalid(f"{path}.minDomains", domains, "must be greater than zero")]
    if action != "DoNotSchedule":
        text = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
        return [invalid(f"{path}.minDomains", domains, text)]
    return []
