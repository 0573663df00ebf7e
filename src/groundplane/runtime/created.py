"""A process that has been made and waits for the word to execute its program."""

from __future__ import annotations

from groundplane.runtime.failures import failed, launch_error, refusal
from groundplane.runtime.stages import outside
from groundplane.runtime.talk import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Created:
    """A process that is set up completely and waits for `start()` before it executes its program.

    `pid` is the caller's child on the host; `pidfd` polls readable once it has ended (the caller owns and closes it);
    `console_fd` is the master side of its terminal, or -1 (the caller owns and closes it). `warnings` are sentences
    about what was asked for and this host cannot deliver (a controller, a capability).
    """

    __slots__ = ("_child", "_made_of", "console_fd", "pid", "pidfd", "warnings")

    def __init__(self, child: outside.Child, warnings: Sequence[str], *made_of: object) -> None:
        self._child = child
        self._made_of = made_of  # kept: to free them while it waits to start would copy the pages that it shares
        self.pid = child.pid
        self.pidfd = child.pidfd
        self.console_fd = child.console_fd
        self.warnings = tuple(warnings)

    def start(self) -> None:
        """Let it execute its program; returns once the execve(2) has succeeded.

        Raises LaunchError (code 126 or 127) when it fails: the child has then been reaped and `pidfd` and `console_fd`
        are closed; the cgroup is left to `delete`.
        """
        talk = self._child.talk
        talk.say("start")
        try:
            word, text = talk.hear()  # only `error` and `refused` come here
        except Gone:
            talk.close()
            return
        self.abort()
        raise failed(refusal(text) if word == "refused" else launch_error(text))

    def abort(self) -> None:
        """Kill and reap the waiting process and close `pidfd` and `console_fd`. The cgroup is left to `delete`."""
        self._child.end()
        self.pidfd = self.console_fd = -1

    def detach(self) -> None:
        """Leave it waiting at its gate (`create` of the command line); `pidfd` and `console_fd` stay the caller's."""
        self._child.talk.close()
