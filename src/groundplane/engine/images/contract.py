"""What the image store asks of its neighbours in the engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol


class ImageUsers(Protocol):
    """Who uses images: the containers, and the snapshots that unpacked their layers."""

    def containers_of(self, image_id: str) -> Sequence[tuple[str, bool]]:
        """The containers (also hidden ones) made from an image, each with whether it runs."""
        ...

    async def layers_kept(self, diff_ids: Collection[str]) -> None:
        """Called after an image went, with the layers of those that stay: what else is unpacked may go."""
        ...
