"""What most plugins do about signatures and hints."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.base.jsonyaml import dumps
from groundplane.scheduler.contract import Change, Happening
from groundplane.scheduler.nodeinfo import PodInfo


class PluginBase:
    """A plugin whose answers depend on nothing of the pod, and which any of its `wakes` may help."""

    name = ""
    wakes = Change.NODE_ADDED
    normalizes = False

    def sign(self, pod: PodInfo) -> Hashable:
        return None

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        return True

    def normalize(self, raw: int, highest: int) -> int:
        return raw


def signed(value: object) -> Hashable:
    """Any JSON value as something hashable; nothing for what is empty."""
    return dumps(value) if value else None
