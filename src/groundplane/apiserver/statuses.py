"""metav1.Status: every refusal of the API server, with upstream's reasons, codes and sentences.

Clients parse these (`kubectl`, client-go's `apierrors`), so words and details follow
k8s.io/apimachinery/pkg/api/errors/errors.go and k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groundplane.base.errors import GroundError

Object = dict[str, Any]


class Cause(Protocol):
    """One field's complaint, as `kinds` validation gives it."""

    @property
    def reason(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def message(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FieldCause:
    """A complaint of our own about one field or query parameter."""

    reason: str
    field: str
    message: str


class StatusError(GroundError):
    """The request is refused; `to_object` is the body of the answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.headers = headers or {}
        self.list_meta: Object = {}  # the Status's own metadata: a continue token to go on with
        self.retry = code in (429, 500, 503, 504)

    def to_object(self) -> Object:
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_meta,
            "status": "Failure",
            "message": str(self),
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def success(details: Object | None = None, code: int = 0) -> Object:
    """The Status that answers a deletion or another call without an object of its own."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    if code:
        status["code"] = code
    return status


def qualified(group: str, resource: str) -> str:
    """`deployments.apps`, or the bare word in the core group."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def not_found(group: str, resource: str, name: str) -> StatusError:
    return StatusError(
        404, "NotFound", f'{qualified(group, resource)} "{name}" not found', _details(group, resource, name)
    )


def no_such_resource() -> StatusError:
    """The path names no resource that is served."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    message = f'{qualified(group, resource)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(group, resource, name))


def name_not_generated(group: str, resource: str, name: str) -> StatusError:
    """`generateName` met a living object; the client tries again (rest.CheckGeneratedNameError)."""
    details = _details(group, resource, name) | {"retryAfterSeconds": 1}
    message = (
        f'{qualified(group, resource)} "{name}" already exists, the server was not able to generate a unique name '
        "for the object"
    )
    return StatusError(409, "AlreadyExists", message, details, headers={"Retry-After": "1"})


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, resource: str, name: str, why: str = MODIFIED) -> StatusError:
    message = f'Operation cannot be fulfilled on {qualified(group, resource)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(group, resource, name))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 with every complaint; several are listed in brackets (field.ErrorList.ToAggregate)."""
    sentences = list(dict.fromkeys(f"{c.field}: {c.message}" if c.field else c.message for c in causes))
    told = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return StatusError(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {told}', details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(group: str, resource: str, name: str, why: str, causes: list[Object] | None = None) -> StatusError:
    subject = f"{qualified(group, resource)} " if resource else ""
    named = f'"{name}" ' if name else ""
    details = _details(group, resource, name)
    if causes:
        details["causes"] = causes
    text = f"{subject}{named}is forbidden: {why}" if resource else f"forbidden: {why}"
    return StatusError(403, "Forbidden", text, details)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def not_acceptable(offered: Sequence[str]) -> StatusError:
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}"
    return StatusError(406, "NotAcceptable", message, {})


def unsupported_media(accepted: Sequence[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def unsupported_patch() -> StatusError:
    return StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def gone(message: str) -> StatusError:
    return StatusError(410, "Gone", message)


def too_large(message: str = "") -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message or 'limit is 3145728'}", {})


def too_many_requests(message: str, seconds: int, causes: list[Object] | None = None) -> StatusError:
    details: Object = {"causes": causes} if causes else {}
    if seconds:
        details["retryAfterSeconds"] = seconds
    headers = {"Retry-After": str(seconds)} if seconds else {}
    return StatusError(429, "TooManyRequests", message, details, headers=headers)


def timeout(message: str, seconds: int = 0, causes: list[Object] | None = None) -> StatusError:
    details: Object = {"retryAfterSeconds": seconds} if seconds else {}
    if causes:
        details["causes"] = causes
    return StatusError(504, "Timeout", f"Timeout: {message}", details)


def unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def plain(message: str) -> StatusError:
    """An error that upstream passes on without a reason of its own: code 500 and the bare sentence."""
    return StatusError(500, "", message)


def unprocessable() -> StatusError:
    """A patch that cannot be carried out (errors.NewGenericServerResponse of 422)."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})
