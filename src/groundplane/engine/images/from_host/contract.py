"""What to make an image of, and the one error for a wish that cannot be granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from groundplane.engine.contract import BadParameter

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FromHostError(BadParameter):
    """An image cannot be made of these files of the host; nothing was made."""


@dataclass(frozen=True, slots=True)
class Add:
    """A file or directory of the host (absolute) and its place in the image (absolute)."""

    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class FromHost:
    """One image to make. Programs are absolute paths; empty command and entrypoint mean: run the first program."""

    name: str
    programs: Sequence[str]
    adds: Sequence[Add] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    working_dir: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: Sequence[str] = ()
    search_path: str = DEFAULT_PATH  # where `#!/usr/bin/env NAME` finds NAME on the host
    source_date_epoch: int | None = None  # no time in the image is later (reproducible-builds.org)
    forbidden: Sequence[str] = ()  # directories that no source may contain or lie in: the state root
