"""The container's terminal: made from its own devpts, handed to the caller, and its standard streams."""

from __future__ import annotations

import os
import stat

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls import terminals
from groundplane.kernel.calls.files import DEVPTS_SUPER_MAGIC, is_type, make_file
from groundplane.runtime.steps.base import Inside, Step, StepError


class OpenConsole(Step):
    """Open a pseudo-terminal in the container, send its master outside, and make its slave this session's terminal."""

    __slots__ = ("bind", "size", "uid")

    def __init__(self, size: tuple[int, int] | None, uid: int, *, bind: bool) -> None:
        self.size = size
        self.uid = uid
        self.bind = bind  # over /dev/console: for init only

    def describe(self) -> str:
        return "opening the console"

    def apply(self, at: Inside) -> None:
        master = at.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        info = os.fstat(master)
        if (
            not stat.S_ISCHR(info.st_mode)
            or info.st_rdev != os.makedev(5, 2)
            or not is_type(master, DEVPTS_SUPER_MAGIC)
        ):
            raise StepError("/dev/ptmx of the container is not a devpts terminal multiplexer: mount devpts on /dev/pts")
        slave, _ = terminals.open_pair(master)
        if self.size:
            terminals.set_size(slave, *self.size)
        os.fchown(slave, self.uid, -1)
        if self.bind:
            _bind_console(at, slave)
        at.talk.say_with_fd("console", master)
        os.close(master)
        at.console = slave


def _bind_console(at: Inside, slave: int) -> None:
    """The slave over /dev/console, which must be a file of its own: a link there would choose what is covered.

    (CVE-2025-52565 has the mirror image: a link chose what covered /dev/console.)
    """
    console = m.open_tree(slave, "", recursive=False, what="/dev/console")
    place = -1
    try:
        place = make_file(at.root, "/dev/console", follow=False)
        if stat.S_ISLNK(os.fstat(place).st_mode):
            raise StepError("/dev/console of the container is a symbolic link: no terminal is mounted there")
        m.attach(console, place, what="/dev/console")
    finally:
        os.close(console)
        if place >= 0:
            os.close(place)


class TakeTerminal(Step):
    """Make the terminal the controlling one and standard input, output and error."""

    __slots__ = ()

    def describe(self) -> str:
        return "taking the terminal"

    def apply(self, at: Inside) -> None:
        terminals.set_controlling(at.console)
        for fd in (0, 1, 2):
            os.dup2(at.console, fd)
        os.close(at.console)
        at.console = -1
