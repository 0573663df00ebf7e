"""User namespaces' id mappings: writing them for a process, and a namespace that only carries some. user_namespaces(7).

A mapping line is (first id inside, first id outside, how many).
"""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.files import write_text
from groundplane.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Lines = Sequence[tuple[int, int, int]]


def write(pid: int, uids: Lines, gids: Lines) -> None:
    """Map the ids of the new user namespace of `pid`. Raises KernelError.

    Without CAP_SETUID over our own namespace the kernel takes one line only, of our own id, and for groups only once
    setgroups(2) is denied in there; everything else is for newuidmap(1) and newgidmap(1), which /etc/subuid allows it.
    """
    try:
        write_text(f"/proc/{pid}/uid_map", _text(uids))
    except KernelError as error:
        if os.geteuid() == 0 or error.errno not in (errno.EPERM, errno.EACCES):
            raise
        _by_helper("newuidmap", pid, uids)
    try:
        write_text(f"/proc/{pid}/gid_map", _text(gids))
    except KernelError as error:
        if os.geteuid() == 0 or error.errno not in (errno.EPERM, errno.EACCES):
            raise
        if len(gids) == 1 and gids[0][1:] == (os.getegid(), 1):
            write_text(f"/proc/{pid}/setgroups", "deny")
            write_text(f"/proc/{pid}/gid_map", _text(gids))
        else:
            _by_helper("newgidmap", pid, gids)


def _text(lines: Lines) -> str:
    return "".join([f"{inside} {outside} {size}\n" for inside, outside, size in lines])


def _by_helper(program: str, pid: int, lines: Lines) -> None:
    """newuidmap(1), newgidmap(1): set-user-ID programs of the package uidmap (shadow)."""
    arguments = [program, str(pid), *[str(number) for line in lines for number in line]]
    words = os.memfd_create(program)
    actions = [(os.POSIX_SPAWN_DUP2, words, 1), (os.POSIX_SPAWN_DUP2, words, 2)]
    try:
        helper = os.posix_spawnp(program, arguments, os.environ, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
        if status:
            os.lseek(words, 0, os.SEEK_SET)
            said = os.read(words, 1000).decode(errors="replace").strip().replace("\n", "; ")
            raise KernelError(program, errno.EPERM, f"of process {pid}", said)
    except FileNotFoundError:
        hint = f"{program} is not installed, and without it only one's own id can be mapped"
        raise KernelError(program, errno.ENOENT, f"of process {pid}", hint) from None
    finally:
        os.close(words)


def namespace(uids: Lines, gids: Lines) -> int:
    """A descriptor of a new user namespace with these mappings and no process in it: mount_setattr(2) takes one."""
    read, write_end = os.pipe()
    try:
        pid, pidfd = p.clone3(p.CLONE_NEWUSER)
        if pid == 0:
            try:
                os.close(write_end)
                os.read(read, 1)  # end of file: the caller is done, or gone
            finally:
                os._exit(0)
        os.close(pidfd)
        try:
            write(pid, uids, gids)
            return of_process(pid)
        finally:
            os.close(write_end)
            write_end = -1
            os.waitpid(pid, 0)
    finally:
        os.close(read)
        if write_end >= 0:
            os.close(write_end)


def of_process(pid: int) -> int:
    """A descriptor of the user namespace that `pid` is in."""
    path = f"/proc/{pid}/ns/user"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, path) from error
