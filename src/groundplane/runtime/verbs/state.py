"""`state`: what runtime-spec's "State" says, and runc's additions."""

from __future__ import annotations

import json

from groundplane.runtime.state import Store
from groundplane.runtime.verbs.showing import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals


def state(given: Parsed, globals: Globals) -> int:
    container = Store(globals.root).load(given.words[0])
    status = status_of(container)
    document = {
        "ociVersion": container.config.get("ociVersion", ""),
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": container.created,
    }
    if container.config.get("annotations"):
        document["annotations"] = container.config["annotations"]
    document["owner"] = ""
    print(json.dumps(document, indent=2))
    return 0
