"""admissionregistration.k8s.io/v1."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def validating_webhooks(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)


def mutating_webhooks(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)
        webhook.setdefault("reinvocationPolicy", "Never")


def policy(obj: Object) -> None:
    """A ValidatingAdmissionPolicy or a MutatingAdmissionPolicy."""
    obj["spec"].setdefault("failurePolicy", "Fail")
    _match(obj["spec"].get("matchConstraints"))


def binding(obj: Object) -> None:
    """The binding of either policy."""
    _match(obj["spec"].get("matchResources"))


def _webhook(webhook: Object) -> None:
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("matchPolicy", "Equivalent")
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    webhook.setdefault("timeoutSeconds", 10)
    if "service" in webhook["clientConfig"]:
        webhook["clientConfig"]["service"].setdefault("port", 443)
    for rule in webhook.get("rules") or ():
        rule.setdefault("scope", "*")


def _match(resources: Object | None) -> None:
    if resources is None:
        return
    resources.setdefault("matchPolicy", "Equivalent")
    resources.setdefault("namespaceSelector", {})
    resources.setdefault("objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in resources.get(name) or ():
            rule.setdefault("scope", "*")
