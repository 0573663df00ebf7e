"""`checkpoint`: refused; its options are runc's, so that the reason is what a caller hears."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.runtime.state import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def checkpoint(given: Parsed, globals: Globals) -> int:
    Store(globals.root).load(given.words[0])
    raise GroundError("checkpoint is not available: it needs CRIU, which this runtime does not drive")
