"""The fixtures of tests that run containers: a bundle of its own, and command lines that leave none.

A module whose bundles differ has a fixture `box` that takes this one and changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.real.bundles import COMMAND, Box, CommandLine, temporary_box


@pytest.fixture
def box() -> Iterator[Box]:
    with temporary_box() as box:
        yield box
        assert box.leftovers() == []


@pytest.fixture
def make(box: Box) -> Iterator[Callable[..., CommandLine]]:
    """Command lines with roots of their own; their containers are deleted behind the test."""
    made: list[CommandLine] = []

    def one(*program: str) -> CommandLine:
        made.append(CommandLine(box.directory / f"state{len(made) or ''}", list(program) or COMMAND))
        return made[-1]

    yield one
    for command in made:
        for id in command("list", "-q").stdout.split():
            command("delete", "--force", id)
        assert not command.root.exists() or list(command.root.iterdir()) == []


@pytest.fixture
def ground(make: Callable[..., CommandLine]) -> CommandLine:
    return make()
