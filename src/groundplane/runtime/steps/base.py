"""What a step is, and what steps share while they run."""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.files import open_in_root
from groundplane.kernel.errors import KernelError
from groundplane.runtime.wording import cgroup_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.talk import Talk


class StepError(GroundError):
    """A step found something of the container not as it must be; the sentence is the user's."""


class NotAdmitted(GroundError):
    """The process cannot enter one of its cgroups; the sentence is the whole one, in runc's words."""


class Inside:
    """The state of the inside stage that outlives a step."""

    __slots__ = ("console", "entered", "mapped", "root", "talk")

    def __init__(self, talk: Talk, *, enters: bool) -> None:
        self.talk = talk
        self.root = -1  # the container's root directory: the mount itself, before and after pivot_root
        self.console = -1  # the slave side of the container's terminal
        self.entered = not enters  # the process is in its cgroups, or does not wait to be let in
        self.mapped = False  # its user namespace has its mappings

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open a path as the container sees it; it cannot lead out. Raises KernelError."""
        return open_in_root(self.root, path, flags)

    def hear(self, word: str) -> None:
        """Wait until outside has said `word`; it may let us into our cgroups before. Raises Gone, NotAdmitted."""
        if self.entered:  # nothing with descriptors comes any more, and the filter may forbid recvmsg(2)
            while self.talk.hear()[0] != word:
                pass
        else:
            self.receive(word)

    def _note(self, heard: str, text: str, fds: list[int]) -> None:
        """What outside says of its own accord."""
        if heard == "enter":
            _enter(text, fds)
            self.entered = True
        elif heard == "mapped":
            self.mapped = True

    def ask(self, word: str, text: str) -> int:
        """Have outside do what we have no right to; its answer is a descriptor. Raises Gone where it failed."""
        self.talk.say(word, text)
        return self.receive(word)

    def receive(self, word: str) -> int:
        """Wait until outside says `word`; the descriptor that comes with it, or -1. Raises Gone, NotAdmitted."""
        while True:
            heard, text, fds = self.talk.hear_with_fds()
            self._note(heard, text, fds)
            if heard == word:
                return fds[0] if fds else -1

    def enter_groups(self) -> None:
        """Be in our cgroups from here on. Raises Gone, NotAdmitted."""
        if not self.entered:
            self.receive("enter")


def _enter(text: str, fds: list[int]) -> None:
    """Move ourselves into v1 groups (kernel/cgroups/contract.py, *Time*); `text` is our pid outside and the files."""
    pid, *paths = text.split("\n")
    try:
        for path, fd in zip(paths, fds, strict=True):
            try:
                os.write(fd, b"0")
            except OSError as error:
                problem = cgroup_words(KernelError.of("write", error, path))
                raise NotAdmitted(f"error adding pid {pid} to cgroups: {problem}") from error
    finally:
        for fd in fds:
            os.close(fd)


class Step:
    """One thing to do; subclasses hold their arguments in slots and are never changed."""

    __slots__ = ()

    def describe(self) -> str:
        """What it does, to follow `while `: `mounting proc on /proc`."""
        raise NotImplementedError

    def apply(self, at: Inside) -> None:
        """Do it. Raises KernelError or StepError."""
        raise NotImplementedError
