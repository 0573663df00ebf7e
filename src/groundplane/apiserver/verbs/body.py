"""A request's body as an object of the kind that the endpoint expects, decoded and checked.

k8s.io/apiserver/pkg/endpoints/handlers/create.go: what cannot be read is 415, 413 or 400 with upstream's sentence.
"""

from __future__ import annotations

import contextlib
from typing import Any

from groundplane.apiserver import protobuf, statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call
from groundplane.apiserver.verbs import gojson
from groundplane.base import jsonyaml
from groundplane.kinds import decode as decoding
from groundplane.kinds import duplicates, schema

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
READABLE = (JSON, YAML, PROTOBUF)
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# handlers/patch.go: how a complaint begins, what a patch must be, and that type's name in Go.
_PATCHES: dict[str, tuple[str, type, str]] = {
    JSON_PATCH: ("error decoding patch: ", list, "[]interface {}"),
    MERGE_PATCH: ("error decoding patch: ", dict, "map[string]interface {}"),
    STRATEGIC_PATCH: ("", dict, "map[string]interface {}"),
    APPLY_PATCH: ("error decoding YAML: error converting YAML to JSON: ", dict, "map[string]interface {}"),
}
LIMIT = 3 * 1024 * 1024  # kube-apiserver --max-request-bytes (DefaultMaxRequestBodyBytes)
_SCHEME = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"


def media_type(content_type: str) -> str:
    """The media type without parameters; an absent Content-Type is JSON (negotiate.go)."""
    return content_type.partition(";")[0].strip().lower() or JSON


def document(call: Call, kind: str) -> Any:
    """The body as plain values. Raises UnsupportedMediaType, TooLarge, BadRequest."""
    if call.body_error is not None:
        raise call.body_error
    body = call.body
    if not isinstance(body, bytes):
        return body
    media = media_type(call.content_type)
    if media not in READABLE:
        raise statuses.unsupported_media(READABLE)
    try:
        if media == PROTOBUF:
            return protobuf.decode(body)
        return _yaml(body) if media == YAML else _json(body)
    except protobuf.DecodeError as error:
        raise _unrecognized(kind, str(error), body) from error
    except jsonyaml.DecodeError as error:
        why = str(error) if media == YAML else f"couldn't get version/kind; json parse error: {error}"
        raise _unrecognized(kind, why, body) from error


def document_of_patch(call: Call) -> Any:
    """A patch as plain values: a list for a JSON patch, else an object. Raises BadRequest."""
    if call.body_error is not None:
        raise call.body_error
    if not isinstance(call.body, bytes):
        return call.body
    media = media_type(call.content_type)
    word, wanted, go_type = _PATCHES[media]
    try:
        document = _yaml(call.body) if media == APPLY_PATCH else _json(call.body)
    except jsonyaml.DecodeError as error:
        raise statuses.bad_request(f"{word}{error}") from error
    if not isinstance(document, wanted):
        why = f"json: cannot unmarshal {_json_name(document)} into Go value of type {go_type}"
        raise statuses.bad_request(f"{word}{why}")
    return document


def _json(text: bytes) -> Any:
    """Raises DecodeError, in encoding/json's words."""
    try:
        return jsonyaml.loads(text)
    except jsonyaml.DecodeError as error:
        if why := gojson.syntax_error(text):
            raise jsonyaml.DecodeError(why) from error
        return jsonyaml.loads(
            text.decode("utf-8", "replace")
        )  # as encoding/json: bytes that are no UTF-8 become U+FFFD


def _yaml(text: bytes) -> Any:
    """Raises DecodeError, in go-yaml's words, which are libyaml's as ours are."""
    if text.startswith(b"{"):  # JSON is YAML, read 30 times faster; most appliers send it
        with contextlib.suppress(jsonyaml.DecodeError):
            return jsonyaml.loads(text)
    try:
        return jsonyaml.yaml_loads(text)
    except jsonyaml.DecodeError as error:
        cause = error.__cause__
        problem, mark = getattr(cause, "problem", None), getattr(cause, "problem_mark", None)
        if not problem:
            raise
        line = mark.line if mark is not None else 0
        if line and cause.__class__.__name__ == "ScannerError":  # go-yaml's fail(): others count one too few
            line += 1
        raise jsonyaml.DecodeError(f"yaml: line {line}: {problem}" if line else f"yaml: {problem}") from error


def _unrecognized(kind: str, why: str, body: bytes) -> statuses.StatusError:
    """rest.go, transformDecodeError and summarizeData: a text as it is, anything else in hexadecimal digits."""
    head = body[:30]
    shown = head.decode("utf-8", "replace") if head[:1] == b"{" else head.hex() or "<empty>"
    dots = " ..." if len(body) > len(head) else ""
    return statuses.bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({shown}{dots})")


def read(call: Call, group: str, version: str, kind: str) -> Object:
    """The body as an object of (group, version, kind). Raises BadRequest."""
    data = document(call, kind)
    return typed(call, data, group, version, kind)


def typed(call: Call, data: Any, group: str, version: str, kind: str, *, strict_word: str | None = None) -> Object:
    """Plain values as an object of the kind; unknown fields are refused or warned of, as `fieldValidation` says."""
    type_ = schema.type_of(group, version, kind)
    if type_ is None:
        raise statuses.no_such_resource()
    api_version = f"{group}/{version}" if group else version
    if not isinstance(data, dict):
        given = {"kind": kind, "version": version}
        raise _cannot(given, kind, f"json: cannot unmarshal {_json_name(data)} into Go value of type {version}.{kind}")
    _check_kind(data, group, version, kind, call.body if isinstance(call.body, bytes) else b"")
    try:
        obj, unknown = decoding.decode(type_, data)
    except decoding.KindDecodeError as error:
        raise _cannot({"kind": kind, "version": version}, kind, str(error)) from error
    unknown = _duplicates(call, data) + unknown
    if unknown:
        _unknown(call, unknown, kind, version, strict_word)
    head: Object = {"kind": kind, "apiVersion": api_version}
    obj = {**head, **{k: v for k, v in obj.items() if k not in head}}
    obj.setdefault("metadata", {})
    return obj


def _check_kind(data: Object, group: str, version: str, kind: str, body: bytes) -> None:
    """The body's own kind and apiVersion, where it gives them, are the endpoint's."""
    given_kind, given_api = data.get("kind") or kind, data.get("apiVersion")
    if not isinstance(given_kind, str) or not isinstance(given_api, str | None):
        wrong = "kind" if not isinstance(given_kind, str) else "apiVersion"
        why = f"couldn't get version/kind; json parse error: json: cannot unmarshal {_json_name(data[wrong])} "
        raise _unrecognized(kind, f"{why}into Go struct field .{wrong} of type string", body)
    given_group, given_version = schema.split_api_version(given_api) if given_api else (group, version)
    if (given_group, given_version, given_kind) == (group, version, kind):
        return
    named = {"kind": given_kind, "version": given_version}
    if schema.type_of(given_group, given_version, given_kind) is None:
        api = given_api or (f"{group}/{version}" if group else version)
        raise _cannot(named, kind, f'no kind "{given_kind}" is registered for version "{api}" in scheme "{_SCHEME}"')
    if given_kind != kind:
        internal = group.partition(".")[0] or "core"
        why = f"converting ({given_version}.{given_kind}) to ({internal}.{kind}): unknown conversion"
        raise _cannot(named, kind, why)
    expected = f"{group}/{version}" if group else version
    raise statuses.bad_request(
        f"the API version in the data ({given_api}) does not match the expected API version ({expected})"
    )


def _cannot(given: dict[str, str], kind: str, why: str) -> statuses.StatusError:
    return statuses.bad_request(f'{given["kind"]} in version "{given["version"]}" cannot be handled as a {kind}: {why}')


_JSON_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (int, "number"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"),
)  # fmt: skip


def _json_name(value: Any) -> str:
    """The word of encoding/json for a value's kind."""
    return next((name for type_, name in _JSON_NAMES if isinstance(value, type_)), "null")


def _unknown(call: Call, messages: list[str], kind: str, version: str, strict_word: str | None) -> None:
    directive = call.query.get("fieldValidation") or "Warn"
    if directive == "Strict":
        told = f"strict decoding error: {', '.join(messages)}"
        if strict_word is not None:
            raise statuses.bad_request(f"{strict_word}{told}")
        raise _cannot({"kind": kind, "version": version}, kind, told)
    if directive == "Warn":
        for message in messages:
            call.warn(message)


def _duplicates(call: Call, data: Any) -> list[str]:
    """Fields given twice; JSON only, the last one counts."""
    if not isinstance(call.body, bytes) or call.query.get("fieldValidation") == "Ignore":
        return []
    return duplicates.find(call.body, data) if media_type(call.content_type) == JSON else []
