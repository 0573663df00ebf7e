"""Fields that a JSON text names twice: `duplicate field "spec.replicas"`, as sigs.k8s.io/json's strict decoder says.

Decoders keep the last of them, so only the text itself can tell. Texts that cannot have any are recognized by counting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from groundplane.base.jsonyaml import dumps

_BLANK_BEFORE_COLON = re.compile(rb'"[ \t\r\n]+:')


def find(text: bytes, decoded: Any) -> list[str]:
    """A message for every field that `text` names more than once; `decoded` is what was decoded from it."""
    # Each key of a text without blanks before its colon adds one `":`, in a string a quote is escaped: equal counts
    # mean that no key was lost while decoding. Anything else (blanks, \\u0022) goes the slow way.
    if text.count(b'":') == dumps(decoded).count(b'":') and not _BLANK_BEFORE_COLON.search(text):
        return []
    return list(_duplicates(json.loads(text.decode("utf-8", "replace"), object_pairs_hook=_Pairs), ""))


class _Pairs(list[tuple[str, Any]]):
    """An object's fields as they were written."""


def _duplicates(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                yield f'duplicate field "{here}"'
            seen.add(key)
            yield from _duplicates(item, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _duplicates(item, f"{path}[{index}]")
