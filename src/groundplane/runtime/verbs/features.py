"""`features`: what this runtime knows, in the shape of runtime-spec 1.2, features.md.

As the specification wants it, this says what the program can do, not what this host lets it do.
"""

from __future__ import annotations

import json

from groundplane import __version__
from groundplane.kernel.caps import NAMES
from groundplane.oci.runtime import NAMESPACES, VERSION
from groundplane.runtime import options, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features(given: Parsed, globals: Globals) -> int:
    print(json.dumps(document(), indent=4))
    return 0


def document() -> dict[str, Any]:
    """The Features object."""
    known = seccomp.known()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(_HOOKS),
        "mountOptions": options.known(),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {"enabled": True, **known, "supportedFlags": known["knownFlags"]},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "false",
            "io.groundplane.version": __version__,
        },
        "potentiallyUnsafeConfigAnnotations": [],
    }
