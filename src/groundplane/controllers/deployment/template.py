"""Which set belongs to which template, and the hash that names a set. Pure.

Upstream hashes Go's printed form of the template (pkg/util/hash DeepHashObject), which nothing outside Go can repeat.
The hash only has to be stable and to differ, so ours is FNV-1a over canonical JSON; it is written in upstream's
alphabet. A set is found again by comparing templates, never by the hash, so sets made by upstream are adopted as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from groundplane.client.contract import Object
from groundplane.client.objects import name_of

HASH_LABEL = "pod-template-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # apimachinery util/rand SafeEncodeString


def template_hash(template: Object, collisions: int | None) -> str:
    """At most 10 characters. `collisions` is status.collisionCount, by which a name that is taken is avoided."""
    text = json.dumps(_bare(template), sort_keys=True, separators=(",", ":"))
    value = 2166136261  # FNV-1a, 32 bits
    for byte in text.encode() + (str(collisions).encode() if collisions is not None else b""):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))


def same_template(one: Object, other: Object) -> bool:
    """apiequality.Semantic.DeepEqual without the hash label: missing, null and empty are the same."""
    if (one.get("spec") or {}) != (other.get("spec") or {}) and _bare(one.get("spec")) != _bare(other.get("spec")):
        return False
    return bool(_metadata(one) == _metadata(other))


def find_new(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The oldest set with the deployment's template: where several have it, all must agree on one."""
    wanted = deployment["spec"]["template"]
    for each in sorted(sets, key=by_age):
        if same_template(each["spec"].get("template") or {}, wanted):
            return each
    return None


def by_age(each: Object) -> tuple[str, str]:
    """Oldest first, then by name."""
    return each["metadata"].get("creationTimestamp") or "", name_of(each)


def _metadata(template: Object) -> Any:
    meta = dict(template.get("metadata") or {})
    meta["labels"] = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    return _bare(meta)


def _bare(value: Any) -> Any:
    """Without nulls and without empty lists and maps, at every depth."""
    if isinstance(value, dict):
        kept = {key: _bare(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each is not None and each != {} and each != []}
    if isinstance(value, list):
        return [_bare(each) for each in value]
    return value
