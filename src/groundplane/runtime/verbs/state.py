"""`state`: a container as a JSON document."""

from __future__ import annotations

import json

from groundplane.runtime.state import Store
from groundplane.runtime.verbs.showing import document_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def state(given: Parsed, globals: Globals) -> int:
    container = Store(globals.root).load(given.words[0])
    document = document_of(container)
    if container.config.get("annotations"):
        document["annotations"] = container.config["annotations"]
    document["owner"] = ""
    print(json.dumps(document, indent=2))
    return 0
