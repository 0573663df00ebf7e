"""Which system calls change something outside of a process, and what they are called in an enumeration.

A name must be the same in each life of a pod, whichever of its processes are watched. So containers are numbered in the
order in which they appear (`C1`, `C2`), and whatever else is random, temporary or the instance's own is taken out.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket

from groundplane.base.ids import instance_hash
from groundplane.kernel.calls.process import pidfd_open
from groundplane.kernel.seccomp.tables import load
from groundplane.wire.spawner import Message

# What each argument is: p a path, d a directory's descriptor before its path, f a descriptor, - nothing of interest.
_PATHS = {
    "mkdir": "p", "mkdirat": "dp", "rmdir": "p", "unlink": "p", "unlinkat": "dp", "rename": "pp", "renameat": "dpdp",
    "renameat2": "dpdp", "symlink": "-p", "symlinkat": "-dp", "link": "pp", "linkat": "dpdp", "mknod": "p",
    "mknodat": "dp", "chmod": "p", "fchmod": "f", "fchmodat": "dp", "chown": "p", "lchown": "p", "fchown": "f",
    "fchownat": "dp", "truncate": "p", "ftruncate": "f", "fsync": "f", "fdatasync": "f", "mount": "-p", "umount2": "p",
    "move_mount": "--dp", "pivot_root": "p", "chroot": "p", "write": "f", "pwrite64": "f", "writev": "f", "setns": "f",
    "splice": "f", "unshare": "", "pidfd_send_signal": "", "kill": "", "sync": "", "syncfs": "f",
}  # fmt: skip
_OPENS = {"open": "p", "openat": "dp", "creat": "p"}
_SENDS = frozenset({"sendmsg", "sendto", "write"})
_FORKS = frozenset({"fork", "vfork", "clone", "clone3"})
_CHANGING = os.O_CREAT | os.O_TRUNC
_NETLINK = {0: "route", 12: "netfilter"}
_NF_TABLES = 10  # NFNL_SUBSYS_NFTABLES
_KINDS = {cls.kind: cls.__name__ for cls in Message.__subclasses__()}
_pidfd_getfd = ctypes.CDLL(None, use_errno=True)["syscall"]


class Effects:
    """Names calls of one instance's processes."""

    def __init__(self, root: str, run: str) -> None:
        self._names = {number: name for name, number in load(os.uname().machine).items()}
        self._root, self._run = os.path.realpath(root), os.path.realpath(run)
        self._hash = instance_hash(root)
        self._ids: list[str] = []

    @property
    def numbers(self) -> frozenset[int]:
        """Those that can have an effect at all."""
        known = {*_PATHS, *_OPENS, *_SENDS, *_FORKS, "bind"}
        return frozenset(number for number, name in self._names.items() if name in known)

    def name(self, tid: int, pid: int, number: int, arguments: tuple[int, ...]) -> str:
        """`rename ROOT/sandboxes/.ID1.json.new ROOT/sandboxes/ID1.json`; empty where nothing changes."""
        call = self._names.get(number, "")
        if call in _FORKS:
            return "" if self._is_thread(call, pid, arguments) else "fork"
        if call in _SENDS and (said := self._said(pid, call, arguments)):
            return said
        if call == "bind":
            return f"bind {path}" if (path := self._bound(pid, arguments)) else ""
        if call in _OPENS:
            flags = arguments[len(_OPENS[call])]
            return f"create {self._path(tid, _OPENS[call], arguments)}" if flags & _CHANGING else ""
        if call not in _PATHS:
            return ""
        what = self._path(tid, _PATHS[call], arguments)
        if call in ("write", "pwrite64", "writev") and not what.startswith(("ROOT/", "RUN/", "/sys/", "/proc/")):
            return ""
        if "/store/" in what and call not in ("fsync", "fdatasync"):
            return ""  # the store's own tests kill it between these
        return "" if what.startswith(("/proc/self/", "ROOT/log/")) else f"{call} {what}".strip()

    def _is_thread(self, call: str, pid: int, arguments: tuple[int, ...]) -> bool:
        flags = arguments[0]
        if call == "clone3":
            flags = int.from_bytes(_memory(pid, arguments[0], 8), "little")
        return call in ("clone", "clone3") and bool(flags & 0x10000)  # CLONE_THREAD

    def _path(self, tid: int, kinds: str, arguments: tuple[int, ...]) -> str:
        words, base = [], ""
        for kind, value in zip(kinds, arguments, strict=False):
            if kind == "d":
                base = _link(f"/proc/{tid}/cwd" if value & 0xFFFFFFFF == 0xFFFFFF9C else f"/proc/{tid}/fd/{value}")
            elif kind == "f":
                words.append(_link(f"/proc/{tid}/fd/{value}"))
            elif kind == "p":
                text = _memory(tid, value, 4096).split(b"\0")[0].decode(errors="replace")
                words.append(text if text.startswith("/") or not base else f"{base}/{text}")
        return " ".join(self._plain(word) for word in words)

    def _bound(self, pid: int, arguments: tuple[int, ...]) -> str:
        address = _memory(pid, arguments[1], min(arguments[2], 110))
        is_file = address[:2] == socket.AF_UNIX.to_bytes(2, "little") and address[2:3] not in (b"", b"\0")
        return self._plain(address[2:].split(b"\0")[0].decode(errors="replace")) if is_file else ""

    def _plain(self, path: str) -> str:
        path = re.sub(rf"^{re.escape(self._root)}(?=/|$)", "ROOT", path)
        path = re.sub(rf"^{re.escape(self._run)}(?=/|$)", "RUN", path)
        path = path.replace(self._hash, "HASH")
        path = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", path)
        path = re.sub(r"((?:^|/)(?:s|sandboxes)/\.?)[0-9a-f]{12,64}", r"\1SANDBOX", path)
        path = re.sub(r"((?:layers|seccomp|blobs/\w+)/\.?)[0-9a-f]{64}", r"\1DIGEST", path)
        path = re.sub(r"(?<![0-9a-f])[0-9a-f]{12}(?:[0-9a-f]{52})?(?![0-9a-f])", lambda id: self._number(id[0]), path)
        path = re.sub(r"\b10(\.\d+){3}", "ADDRESS", path)
        path = re.sub(r"(?<=HASH)0a[0-9a-f]{6}", "ADDRESS", path)
        path = re.sub(r"(/trash/(new-)?C\d+)\S*", r"\1", path)
        path = re.sub(r"(?<=kube-api-access-)[b-z2-9]{5}", "SUFFIX", path)
        path = re.sub(r"(?<=/default_)[^/_]+(?=_UID)", "POD", path)
        path = re.sub(r"\.\.\d{4}(_\d+)+\.\d+", "..STAMP", path)
        return re.sub(r"/proc/\d+/", "/proc/PID/", path)

    def _number(self, id: str) -> str:
        for number, known in enumerate(self._ids, 1):
            if known.startswith(id) or id.startswith(known):
                return f"C{number}"
        self._ids.append(id)
        return f"C{len(self._ids)}"

    def _said(self, pid: int, call: str, arguments: tuple[int, ...]) -> str:
        """What goes over netlink, or over the sequenced sockets between our own processes."""
        if not _link(f"/proc/{pid}/fd/{arguments[0]}").startswith("socket:"):
            return ""
        family, kind, protocol = _socket(pid, arguments[0])
        if family not in (socket.AF_NETLINK, socket.AF_UNIX) or not kind & (socket.SOCK_RAW | socket.SOCK_SEQPACKET):
            return ""
        at, length = arguments[1], arguments[2]
        if call == "sendmsg":
            vector = int.from_bytes(_memory(pid, arguments[1] + 16, 8), "little")
            at, length = (int.from_bytes(_memory(pid, vector + offset, 8), "little") for offset in (0, 8))
        data = _memory(pid, at, min(length, 64))
        if family == socket.AF_NETLINK:
            return _netlink(protocol, int.from_bytes(data[4:6], "little"))
        if kind != socket.SOCK_SEQPACKET or not data:
            return ""
        return f"say {_KINDS[data[0]] if data[0] in _KINDS else data.split(b' ')[0].decode(errors='replace')}"


def _netlink(protocol: int, kind: int) -> str:
    """Empty for questions: in rtnetlink every third type after NEW and DEL (rtnetlink(7)), in nf_tables every third
    one after NEW (linux/netfilter/nf_tables.h, up to NFT_MSG_GETOBJ).
    """
    asks = kind & 3 == 2 if protocol == 0 else kind >> 8 == _NF_TABLES and kind & 0xFF <= 19 and (kind & 0xFF) % 3 == 1
    return "" if asks else f"netlink {_NETLINK.get(protocol, protocol)} {kind}"


def _socket(pid: int, fd: int) -> tuple[int, int, int]:
    """Family, type and protocol of another process's socket (pidfd_getfd(2), Linux ≥ 5.6)."""
    pidfd = pidfd_open(pid)
    try:
        copy = _pidfd_getfd(438, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        return 0, 0, 0
    with socket.socket(fileno=copy) as found:
        return int(found.family), int(found.type) & 0xF, found.proto


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _memory(pid: int, address: int, length: int) -> bytes:
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), length, address)
    except (OSError, OverflowError):
        return b""
