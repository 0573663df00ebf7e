"""`restore`: refused, as `checkpoint` is."""

from __future__ import annotations

import os

from groundplane.base.errors import ConflictError, GroundError
from groundplane.runtime.state import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def restore(given: Parsed, globals: Globals) -> int:
    if os.path.exists(Store(globals.root).directory(given.words[0])):
        raise ConflictError("container with given ID already exists")
    raise GroundError("restore is not available: it needs CRIU, which this runtime does not drive")
