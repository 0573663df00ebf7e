"""How a launch fails: the error that every stage ends in, and its words."""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.kernel.trampoline import read_report
from groundplane.runtime.program import exec_error
from groundplane.runtime.wording import words


class LaunchError(GroundError):
    """The container or process could not be started; nothing of it is left.

    `exit_code` is the shell's where the program itself is at fault: 127 it does not exist, 126 it cannot be executed;
    1 for everything else. `str(error)` reads as runc's:
    `unable to start container process: exec: "foo": executable file not found in $PATH`.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Lost(LaunchError):
    """The new process ended without a word: somebody, or the kernel for want of memory, killed it."""


def launch_error(text: str) -> LaunchError:
    """What inside said, `CODE SENTENCE`, as an error."""
    code, _, sentence = text.partition(" ")
    return LaunchError(sentence, int(code))


def refusal(text: str) -> LaunchError:
    """What the trampoline said, as an error: why execve(2) failed."""
    number, path = read_report(text)
    failure = exec_error(path, number)
    return LaunchError(str(failure), failure.exit_code)


def failed(error: GroundError) -> LaunchError:
    """In runc's words: whatever happens once a process is being made is its failure to start."""
    return LaunchError(f"unable to start container process: {words(error)}", error.exit_code)
