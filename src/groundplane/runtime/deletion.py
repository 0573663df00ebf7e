"""The end of a container: what its creation made on the host is taken away, once its init has ended."""

from __future__ import annotations

import os

from groundplane.oci.runtime import read_config
from groundplane.runtime.groups import remove_group
from groundplane.runtime.hooks import hook_state, run_each
from groundplane.runtime.lookups import once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def delete(config: dict[str, Any], *, bundle: str, id: str, cgroup: str) -> list[str]:
    """Clear up after the container's init has ended: kill what is left in its cgroup, remove it, run poststop hooks.

    Idempotent, but for the hooks. A failing poststop hook does not fail it (runtime-spec, config.md: Poststop): its
    sentence is returned. Raises KernelError when the cgroup cannot be removed.
    """
    if cgroup:
        remove_group(once.groups(), cgroup)
    if not (config.get("hooks") or {}).get("poststop"):
        return []
    document = read_config(config)
    return run_each("poststop", document.hooks.poststop, {**hook_state(id, bundle, document), "status": "stopped"}, 0)


def release_root(config: dict[str, Any], bundle: str) -> None:
    """Take away the root of a container that had no mount namespace (`hostroot.py`); once, after its init has ended."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None  # what a killed `create` left nobody has read yet
    if isinstance(path, str) and not any(namespace["type"] == "mount" for namespace in namespaces):
        from groundplane.runtime import hostroot

        hostroot.detach(os.path.realpath(os.path.join(bundle, path)))
