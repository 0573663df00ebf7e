"""The questions that clients ask about access: each a pure function of the question, who asks, and what is known.

After kubernetes/pkg/registry/authorization and pkg/registry/authentication. Each method takes the decoded question, the
user who asks and the request's namespace, and gives the question back with its `status`. Raises StatusError.
"""

from __future__ import annotations

from typing import Any

from groundplane.apiserver.access.authn import authenticated
from groundplane.apiserver.access.contract import (
    Attributes,
    Authorizer,
    Decision,
    Object,
    PolicyRule,
    RuleResolver,
    User,
)
from groundplane.apiserver.access.jws import BadToken
from groundplane.apiserver.access.tokens import Tokens
from groundplane.apiserver.statuses import FieldCause, bad_request, invalid
from groundplane.base import jsonyaml

_AUTHORIZATION = "authorization.k8s.io"
_BOTH = "cannot be specified in combination with resourceAttributes"
_NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


class Reviews:
    """All reviews of one server."""

    def __init__(self, authorizer: Authorizer, rules: RuleResolver, tokens: Tokens) -> None:
        self._authorizer = authorizer
        self._rules = rules
        self._tokens = tokens

    def self_access(self, question: Object, user: User, namespace: str) -> Object:
        """SelfSubjectAccessReview: may I?"""
        spec = question.get("spec") or {}
        _refuse([*_of_spec(spec), *_of_metadata(question, "must be empty")])
        return self._decided(question, spec, user)

    def subject_access(self, question: Object, user: User, namespace: str) -> Object:
        """SubjectAccessReview: may they?"""
        spec = question.get("spec") or {}
        _refuse([*_of_spec(spec), *_of_subject(spec), *_of_metadata(question, "must be empty")])
        return self._decided(question, spec, _subject(spec))

    def local_access(self, question: Object, user: User, namespace: str) -> Object:
        """LocalSubjectAccessReview: may they, in this namespace?"""
        spec = question.get("spec") or {}
        own = (question.get("metadata") or {}).get("namespace") or ""
        causes = [*_of_spec(spec), *_of_subject(spec)]
        causes += _of_metadata(question, "must be empty except for namespace", but=("namespace",))
        resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if resource is not None and (resource.get("namespace") or "") != own:
            shown = resource.get("namespace") or ""
            causes.append(_cause("spec.resourceAttributes.namespace", f'"{shown}"', "must match metadata.namespace"))
        if other is not None:
            causes.append(_cause("spec.nonResourceAttributes", _shown(other), "disallowed on this kind of request"))
        _refuse(causes)
        if namespace != own:
            raise bad_request(f"namespace {own} does not match the namespace of the request, {namespace}")
        return self._decided(question, spec, _subject(spec))

    def self_rules(self, question: Object, user: User, namespace: str) -> Object:
        """SelfSubjectRulesReview: all that I may do in a namespace, as far as can be told."""
        wanted = (question.get("spec") or {}).get("namespace") or ""
        if not wanted:
            raise bad_request("no namespace on request")
        rules, errors = self._rules.rules_for(user, wanted)
        resources, urls = [], []
        for rule in rules:
            if rule.resources:
                resources.append(PolicyRule(rule.verbs, rule.groups, rule.resources, rule.names).to_object())
            if rule.urls:
                urls.append(PolicyRule(rule.verbs, urls=rule.urls).to_object())
        # A role that is missing grants nothing, so the list is complete without it; a node's is not (see node.py).
        status: Object = {"resourceRules": resources, "nonResourceRules": urls, "incomplete": bool(user.node)}
        if errors:
            status["evaluationError"] = _joined(errors)
        return {**question, "status": status}

    def token(self, question: Object, user: User, namespace: str) -> Object:
        """TokenReview: whose token is this?"""
        spec = question.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        try:
            found, audiences = self._tokens.authenticate(token, spec.get("audiences") or ())
        except BadToken as error:
            return {**question, "status": {"user": {}, "error": f"[invalid bearer token, {error}]"}}
        info = authenticated(found).to_object()
        return {**question, "status": {"authenticated": True, "user": info, "audiences": audiences}}

    def self_subject(self, question: Object, user: User, namespace: str) -> Object:
        """SelfSubjectReview: who am I?"""
        return {**question, "status": {"userInfo": user.to_object()}}

    def _decided(self, question: Object, spec: Object, user: User) -> Object:
        verdict = self._authorizer.authorize(_attributes(spec, user))
        status: Object = {"allowed": verdict.allowed}
        if verdict.decision is Decision.DENY:
            status["denied"] = True
        if verdict.reason:
            status["reason"] = verdict.reason
        if verdict.error:
            status["evaluationError"] = verdict.error
        return {**question, "status": status}


def _attributes(spec: Object, user: User) -> Attributes:
    if (wanted := spec.get("resourceAttributes")) is None:
        wanted = spec["nonResourceAttributes"]
        return Attributes(user, wanted.get("verb") or "", path=wanted.get("path") or "")

    def word(key: str) -> str:
        return wanted.get(key) or ""

    return Attributes(
        user,
        word("verb"),
        word("group"),
        word("version") or "*",
        word("resource"),
        word("subresource"),
        word("namespace"),
        word("name"),
        fields=_fields(wanted.get("fieldSelector") or {}),
    )


def _fields(selector: Object) -> tuple[tuple[str, str, str], ...]:
    """Requirements of one value as an authorizer reads them; others restrict nothing that one looks at."""
    found = []
    for requirement in selector.get("requirements") or ():
        values = requirement.get("values") or []
        if requirement.get("operator") == "In" and len(values) == 1:
            found.append((requirement.get("key") or "", "=", values[0]))
        elif requirement.get("operator") == "NotIn" and len(values) == 1:
            found.append((requirement.get("key") or "", "!=", values[0]))
    return tuple(found)


def _subject(spec: Object) -> User:
    extra = {k: tuple(v) for k, v in (spec.get("extra") or {}).items()}
    return User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)


def _of_spec(spec: Object) -> list[FieldCause]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        return [_cause("spec.nonResourceAttributes", _shown(other), _BOTH)]
    if resource is None and other is None:
        return [_cause("spec.resourceAttributes", "null", _NEITHER)]
    return []


def _of_subject(spec: Object) -> list[FieldCause]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [_cause("spec.user", '""', "at least one of user or group must be specified")]


def _of_metadata(question: Object, why: str, but: tuple[str, ...] = ()) -> list[FieldCause]:
    meta = question.get("metadata") or {}
    ignored = (*but, "managedFields", "creationTimestamp")
    left = {k: v for k, v in meta.items() if k not in ignored and v}
    return [_cause("metadata", _shown(left), why)] if left else []


def _refuse(causes: list[FieldCause]) -> None:
    if causes:
        # Upstream names no kind here: errors.NewInvalid(authorizationapi.Kind(""), "", errs).
        raise invalid(_AUTHORIZATION, "", "", causes)


def _cause(field: str, shown: str, why: str) -> FieldCause:
    return FieldCause("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")


def _shown(value: Any) -> str:
    """A structured value in a message, as field.Error prints it: JSON."""
    return jsonyaml.dumps(value).decode()


def _joined(errors: list[str]) -> str:
    told = list(dict.fromkeys(errors))
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"
