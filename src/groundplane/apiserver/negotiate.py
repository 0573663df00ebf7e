"""Which form an answer takes: Accept against what is offered (k8s.io/apiserver/pkg/endpoints/handlers/negotiation).

A form is a media type (JSON, YAML, protobuf) and, for objects, what they are shown as: themselves, a Table, or their
metadata alone (PartialObjectMetadata).
"""

from __future__ import annotations

from dataclasses import dataclass

from groundplane.apiserver import statuses
from groundplane.base.caching import remember_short

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
OFFERED = (JSON, YAML, PROTOBUF)
TABLE, PARTIAL, PARTIAL_LIST = "Table", "PartialObjectMetadata", "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Form:
    """`shown_as` is empty, Table, PartialObjectMetadata or PartialObjectMetadataList, in `version` of meta.k8s.io.

    `pretty` asks for indentation.
    """

    media: str = JSON
    shown_as: str = ""
    pretty: bool = False
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class Clause:
    """One alternative of an Accept header."""

    main: str
    sub: str
    parameters: tuple[tuple[str, str], ...]
    quality: float


@remember_short(512)
def clauses(accept: str) -> tuple[Clause, ...]:
    """The alternatives, the client's most wanted first (goautoneg: quality, then order, wildcards last)."""
    found = []
    for part in accept.split(","):
        media, *rest = [p.strip() for p in part.split(";")]
        main, slash, sub = media.partition("/")
        if not slash and main != "*":
            continue
        parameters, quality = [], 1.0
        for text in rest:
            key, _, value = text.partition("=")
            if key == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 1.0
            else:
                parameters.append((key.strip(), value.strip().strip('"')))
        found.append(Clause(main, sub or "*", tuple(parameters), quality))
    return tuple(sorted(found, key=lambda c: (-c.quality, c.main == "*", c.sub == "*")))


@remember_short(512)
def negotiate(accept: str, *, pretty: bool = False, tables: bool = True) -> Form:
    """The form of an object's answer, which may not be shown as a table without `tables`. Raises NotAcceptable."""
    if not accept:
        return Form(pretty=pretty)
    for clause in clauses(accept):
        media = _offered(clause)
        if not media:
            continue
        parameters = dict(clause.parameters)
        shown = parameters.get("as", "")
        if shown and (not _can_show(shown, parameters) or (shown == TABLE and (media == PROTOBUF or not tables))):
            continue  # a Table has no protobuf message
        version = parameters["v"] if shown else "v1"
        return Form(media, shown, pretty or parameters.get("pretty") == "1", version)
    raise statuses.not_acceptable(OFFERED)


def _offered(clause: Clause) -> str:
    if clause.main == "*" and clause.sub == "*":
        return JSON
    for media in OFFERED:
        main, _, sub = media.partition("/")
        if clause.main == main and clause.sub in (sub, "*"):
            return media
    return ""


def _can_show(shown: str, parameters: dict[str, str]) -> bool:
    return (
        shown in (TABLE, PARTIAL, PARTIAL_LIST)
        and parameters.get("g") == "meta.k8s.io"
        and parameters.get("v") in ("v1", "v1beta1")
    )
