"""Which file a command line means, and how it fails: Go's exec.LookPath, whose words Docker and podman search for."""

from __future__ import annotations

import errno
import os
import stat

from groundplane.base.errors import GroundError
from groundplane.kernel.calls.files import check_access
from groundplane.kernel.errors import KernelError
from groundplane.runtime.wording import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class ProgramError(GroundError):
    """The program cannot be executed; `exit_code` is the shell's: 127 not found, 126 found."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def environment(entries: Iterable[str]) -> dict[str, str]:
    """`NAME=value` entries as a mapping; later ones win. Raises ProgramError for what is none."""
    result: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise ProgramError(f'invalid environment variable: "{entry}"', 1)
        result[name] = value
    return result


def look_path(name: str, path: str) -> str:
    """The file that `name` means with this PATH, seen from the current directory and user. Raises ProgramError."""
    if "/" in name:
        if problem := _problem(name):
            reason = f"stat {name}: {strerror(problem)}" if problem == errno.ENOENT else strerror(problem)
            raise ProgramError(f'exec: "{name}": {reason}', 127 if problem in _MISSING else 126)
        return name
    found = 0
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        problem = _problem(candidate)
        if not problem:
            return candidate
        if problem == errno.EACCES:
            found = problem
    if found:
        raise ProgramError(f'exec: "{name}": {strerror(found)}', 126)
    raise ProgramError(f'exec: "{name}": executable file not found in $PATH', 127)


_MISSING = (errno.ENOENT, errno.ENOTDIR)


def _problem(path: str) -> int:
    """Why `path` cannot be executed, as an errno; 0 if it looks as if it could."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.EIO
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    if not mode & 0o111:
        return errno.EACCES
    try:
        check_access(path, os.X_OK)
    except KernelError as error:
        # A seccomp profile older than the call refuses the question; execve(2) will answer it.
        return 0 if error.errno in (errno.EPERM, errno.ENOSYS) else error.errno
    return 0


def exec_error(path: str, number: int) -> ProgramError:
    """Why execve(2) itself failed, by its errno: a missing interpreter is 127 to Docker, everything else 126."""
    return ProgramError(f"exec {path}: {strerror(number)}", 127 if number in _MISSING else 126)
