"""What a step is, and what steps share while they run."""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.files import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.talk import Talk


class StepError(GroundError):
    """A step found something of the container not as it must be; the sentence is the user's."""


class Inside:
    """The state of the inside stage that outlives a step."""

    __slots__ = ("attached", "console", "mapped", "root", "talk")

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.root = -1  # the container's root directory: the mount itself, before and after pivot_root
        self.console = -1  # the slave side of the container's terminal
        self.attached = False  # the process is in its cgroups
        self.mapped = False  # its user namespace has its mappings

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open a path as the container sees it; it cannot lead out. Raises KernelError."""
        return open_in_root(self.root, path, flags)

    def hear(self, word: str) -> None:
        """Wait until outside has said `word`; it may have said `attached` before. Raises Gone."""
        while True:
            heard, _ = self.talk.hear()
            self.note(heard)
            if heard == word:
                return

    def note(self, heard: str) -> None:
        """Remember what outside says of its own accord."""
        if heard == "attached":
            self.attached = True
        elif heard == "mapped":
            self.mapped = True

    def ask(self, word: str, text: str) -> int:
        """Have outside do what we have no right to; its answer is a descriptor. Raises Gone where it failed."""
        self.talk.say(word, text)
        while True:
            heard, _, fd = self.talk.hear_with_fd()
            if heard == word:
                return fd
            self.note(heard)

    def wait_attached(self) -> None:
        if not self.attached:
            self.hear("attached")


class Step:
    """One thing to do; subclasses hold their arguments in slots and are never changed."""

    __slots__ = ()

    def describe(self) -> str:
        """What it does, to follow `while `: `mounting proc on /proc`."""
        raise NotImplementedError

    def apply(self, at: Inside) -> None:
        """Do it. Raises KernelError or StepError."""
        raise NotImplementedError
