"""Image names: Docker's short forms, written out in full and shortened again.

The grammar is that of distribution's `reference` package: `[domain/]path[:tag][@digest]`. `nginx` is
`docker.io/library/nginx:latest`; the first part is a domain only if it has a dot or a colon, is `localhost`, or has
an upper-case letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from groundplane.base.errors import UsageError

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_MAX_NAME = 255

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ID = re.compile(r"[0-9a-f]{64}\Z")


class BadReference(UsageError):
    """The words do not name an image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name written out in full. `tag` or `digest` may be empty, not both after `with_default_tag`."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def full(self) -> str:
        """`docker.io/library/nginx:1.25@sha256:…`"""
        return self._with_suffix(self.repository)

    @property
    def familiar_repository(self) -> str:
        """`nginx`: as people write it and as Docker shows it."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        rest = self.path.removeprefix("library/")
        return self.path if "/" in rest else rest

    @property
    def familiar(self) -> str:
        return self._with_suffix(self.familiar_repository)

    def _with_suffix(self, name: str) -> str:
        return name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> Reference:
        if self.tag or self.digest:
            return self
        return Reference(self.domain, self.path, DEFAULT_TAG)


def parse_reference(text: str) -> Reference:
    """Write a name out in full; the tag stays empty where none is given. Raises BadReference with Docker's words."""
    if _ID.match(text):
        raise BadReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings",
        )
    domain, rest = _split_domain(text)
    remainder, _, digest = rest.partition("@")
    path, _, tag = remainder.partition(":")
    if path != path.lower():
        raise BadReference(f"invalid reference format: repository name ({path}) must be lowercase")
    well_formed = (
        _PATH.match(path)
        and _DOMAIN.match(domain)
        and (_TAG.match(tag) if ":" in remainder else True)
        and (_DIGEST.match(digest) if "@" in rest else True)
    )
    if not well_formed:
        raise BadReference("invalid reference format")
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise BadReference(f"repository name must not be more than {_MAX_NAME} characters")
    return Reference(domain, path, tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    looks_like_domain = any(c in first for c in ".:") or first == "localhost" or first.lower() != first
    if not slash or not looks_like_domain:
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = DEFAULT_DOMAIN if first == "index.docker.io" else first
    if domain == DEFAULT_DOMAIN and "/" not in rest.partition("@")[0].partition(":")[0]:
        rest = f"library/{rest}"
    return domain, rest
