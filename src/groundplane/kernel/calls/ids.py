"""Who this process is: user, groups, host name. Raw calls; `binding.py` says why not libc's."""

from __future__ import annotations

import struct

from groundplane.kernel.calls.binding import BUFFER, INT, TEXT, bind

_setresuid = bind("setresuid", INT, INT, INT)
_setresgid = bind("setresgid", INT, INT, INT)
_setgroups = bind("setgroups", INT, BUFFER)
_sethostname = bind("sethostname", TEXT, INT)
_setdomainname = bind("setdomainname", TEXT, INT)


def setresuid(uid: int) -> None:
    """Real, effective and saved user. setresuid(2); leaving 0 clears capabilities unless PR_SET_KEEPCAPS is set."""
    _setresuid(f"uid {uid}", uid, uid, uid)


def setresgid(gid: int) -> None:
    """Real, effective and saved group. setresgid(2)."""
    _setresgid(f"gid {gid}", gid, gid, gid)


def setgroups(gids: list[int]) -> None:
    """The supplementary groups. setgroups(2); refused with EPERM where /proc/self/setgroups says `deny`."""
    _setgroups(f"groups {gids}", len(gids), struct.pack(f"={len(gids)}I", *gids))


def sethostname(name: str) -> None:
    """The host name of this UTS namespace, at most 64 bytes. sethostname(2)."""
    data = name.encode()
    _sethostname(name, data, len(data))


def setdomainname(name: str) -> None:
    """The NIS domain name of this UTS namespace, at most 64 bytes. setdomainname(2)."""
    data = name.encode()
    _setdomainname(name, data, len(data))
