"""Names that people can remember, for containers that were given none: an adjective and a landform."""

from __future__ import annotations

import os
from collections.abc import Container

_ADJECTIVES_TEXT = """
amber ancient autumn basalt bold breezy bright bronze calm cedar clear cobalt cool copper coral crisp dappled deep
dewy dusky early eager emerald fair fern flint foggy fresh frosty gentle golden granite green hazel high hollow humble
indigo ivory jade keen late lilac lively lofty lucid lunar maple mellow misty mossy narrow noble northern olive open
opal pale patient pearl pine placid polar quartz quick quiet rapid rocky rosy russet rustic sandy silent silver slate
smooth snowy solar southern spring steady still stony summer sunny swift tawny tidal tranquil umber upland vast velvet
verdant vivid warm western wide wild windy winter wooded young
"""
_LANDFORMS_TEXT = """
arch atoll basin bay beach bluff bog brook butte canyon cape cave cavern channel cliff coast col cove crater creek
crest dale delta dell desert dune estuary falls fell fen field fjord forest ford geyser glacier glade glen gorge grove
gulf harbor heath hill hollow inlet island isle isthmus knoll lagoon lake lea ledge marsh meadow mesa moor mountain
oasis pass peak peninsula plain plateau pond prairie range rapids ravine reef ridge river sandbar savanna scarp shoal
shore sound spire spring steppe stream summit tarn terrace tundra vale valley volcano wadi waterfall wetland wood
"""
_ADJECTIVES = _ADJECTIVES_TEXT.split()
_LANDFORMS = _LANDFORMS_TEXT.split()


def generate(taken: Container[str]) -> str:
    """`misty_fjord`; with a number behind it once luck runs out."""
    for attempt in range(1000):
        first, second, third = os.urandom(3)
        name = f"{_ADJECTIVES[first % len(_ADJECTIVES)]}_{_LANDFORMS[second % len(_LANDFORMS)]}"
        if attempt > 4:
            name += str(third % 10 + attempt)
        if name not in taken:
            return name
    raise AssertionError("a thousand names are taken")
