"""Continue tokens: where a paged list goes on, and at which revision (k8s.io/apiserver/pkg/storage/continue.go)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from groundplane.apiserver import statuses
from groundplane.base import jsonyaml

ANY_REVISION = -1  # go on with what is there now: the list may be inconsistent


@dataclass(frozen=True, slots=True)
class Token:
    start: str  # relative to the list's key prefix
    revision: int


def encode(token: Token) -> str:
    data = jsonyaml.dumps({"v": "meta.k8s.io/v1", "rv": token.revision, "start": token.start})
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> Token:
    """Raises BadRequest with upstream's sentence."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _bad("illegal base64 data at input byte 0") from None
    try:
        fields = jsonyaml.loads(data)
    except jsonyaml.DecodeError:
        first = chr(data[0]) if data else ""
        raise _bad(
            f"invalid character '{first}' looking for beginning of value" if data else "unexpected end of JSON input"
        ) from None
    if not isinstance(fields, dict) or fields.get("v") != "meta.k8s.io/v1":
        version = fields.get("v", "") if isinstance(fields, dict) else ""
        raise _bad(f'server does not recognize this encoded version "{version}"', prefix="")
    start, revision = fields.get("start"), fields.get("rv")
    if not isinstance(revision, int) or revision == 0:
        raise _bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)", prefix="")
    if not isinstance(start, str) or not start:
        raise _bad("encoded start key empty (version meta.k8s.io/v1)", prefix="")
    if ".." in f"/{start}".split("/"):
        raise _bad(f"invalid encoded start key, must not contain '..': {start}", prefix="")
    return Token(start, revision)


def _bad(why: str, prefix: str = "continue key is not valid: ") -> statuses.StatusError:
    return statuses.bad_request(f"invalid continue token: {prefix or 'continue key is not valid: '}{why}")
