"""Processes and namespaces: clone3, unshare, setns, pidfds, prctl, sessions' keyrings, execution domains.

Strange ground, once: a raw clone3(2) duplicates the calling thread and nothing else. The child of a multi-threaded
process would own locks held by threads that it does not have, so every caller here is single-threaded (the runtime's
command line and its resident half are). Python's own fork hooks are not run: there is nothing for them to repair in
a process with one thread, and the child soon executes another program or ends with `os._exit`.
"""

from __future__ import annotations

import os
import struct

from groundplane.kernel.calls.binding import BUFFER, INT, TEXT, addressof, bind, bind_plain, room, strings

# sched.h; clone(2), unshare(2), setns(2)
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_CLEAR_SIGHAND = 1 << 32
CLONE_INTO_CGROUP = 1 << 33

_SIGCHLD = 17  # signal(7); importing `signal` would build its enumerations for 2 ms

# prctl.h; prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

_KEYCTL_JOIN_SESSION_KEYRING = 1
_CLOSE_RANGE_CLOEXEC = 4
_AT_EMPTY_PATH = 0x1000

_clone3 = bind("clone3", BUFFER, INT, keep_gil=True)
_unshare = bind("unshare", INT)
_setns = bind("setns", INT, INT)
_pidfd_open = bind("pidfd_open", INT, INT)
_pidfd_send_signal = bind("pidfd_send_signal", INT, INT, INT, INT)
_pidfd_getfd = bind("pidfd_getfd", INT, INT, INT)
_prctl = bind("prctl", INT, INT, INT, INT, INT)
_prctl_plain = bind_plain("prctl")
_prctl_text = bind("prctl", INT, TEXT, INT, INT, INT)
_personality = bind("personality", INT)
_keyctl_text = bind("keyctl", INT, TEXT)
_close_range = bind("close_range", INT, INT, INT)
_execveat = bind("execveat", INT, TEXT, BUFFER, BUFFER, INT)
_ioprio_set = bind("ioprio_set", INT, INT, INT)
_sched_setattr = bind("sched_setattr", INT, BUFFER, INT)
_rt_sigaction = bind("rt_sigaction", INT, BUFFER, INT, INT)


def clone3(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """Duplicate this process: (pid, pidfd) in the caller, (0, -1) in the child. clone3(2), Linux ≥ 5.3.

    `flags` are CLONE_NEW*, and CLONE_PARENT to make the caller's parent the child's too; the child always starts with
    default signal actions (CLONE_CLEAR_SIGHAND, ≥ 5.5), so that no Python handler runs in it. `cgroup_fd` puts it into
    that cgroup v2 directory (CLONE_INTO_CGROUP, ≥ 5.7).
    """
    pidfd = room(4)
    flags |= CLONE_PIDFD | CLONE_CLEAR_SIGHAND
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup; each 64 bits.
    # A child of our parent's ends with the signal that ours was to end with; the kernel takes none of our own for it.
    signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    words = (flags, addressof(pidfd), 0, 0, signal, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    arguments = struct.pack("=11Q", *words)
    pid = _clone3("", arguments, len(arguments))
    return (pid, int.from_bytes(pidfd.raw, "little")) if pid else (0, -1)


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones. unshare(2); PID and time concern only later children."""
    _unshare(f"flags {flags:#x}", flags)


def setns(fd: int, flags: int, what: str = "") -> None:
    """Enter the namespace behind `fd`, or, where `fd` is a pidfd, those of `flags` at once. setns(2); pidfd ≥ 5.8."""
    _setns(what or f"descriptor {fd}", fd, flags)


def pidfd_open(pid: int) -> int:
    """A descriptor of a process that polls readable when it has ended; close-on-exec. pidfd_open(2), ≥ 5.3."""
    return _pidfd_open(f"pid {pid}", pid, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send a signal without a chance of hitting a reused pid. pidfd_send_signal(2), ≥ 5.1."""
    _pidfd_send_signal(f"signal {signal}", pidfd, signal, 0, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A duplicate of another process's descriptor. pidfd_getfd(2), ≥ 5.6."""
    return _pidfd_getfd(f"descriptor {fd}", pidfd, fd, 0)


# struct pidfd_info of linux/pidfd.h: __u64 mask, cgroupid; __u32 pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid,
# fsuid, fsgid; __s32 exit_code: 64 bytes in its first version (PIDFD_INFO_SIZE_VER0).
_PIDFD_INFO = struct.Struct("=2Q11Ii")
_PIDFD_GET_INFO = 0xC0000000 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, …)
_PIDFD_INFO_EXIT = 1 << 3


def pidfd_exit_status(pidfd: int) -> int | None:
    """The wait(2) status of a process that has been reaped by anyone; None where it has not or the kernel cannot tell.

    PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux ≥ 6.15: the returned mask says whether the status is there.
    """
    import fcntl  # late: only the resident half asks

    request = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 12, 0))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request, True)
    except OSError:  # ENOTTY before 6.13, ESRCH where it is gone and the kernel kept nothing
        return None
    values = _PIDFD_INFO.unpack(request)
    return int(values[-1]) if values[0] & _PIDFD_INFO_EXIT else None


def set_parent_death_signal(signal: int) -> None:
    """The signal this process gets when its parent thread ends; 0 for none. prctl(2), PR_SET_PDEATHSIG."""
    _prctl("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_dumpable(dumpable: int) -> None:
    """0 hides /proc/self (exe, fd, mem …) from other processes without CAP_SYS_PTRACE. prctl(2), PR_SET_DUMPABLE."""
    _prctl("PR_SET_DUMPABLE", PR_SET_DUMPABLE, dumpable, 0, 0, 0)


def set_name(name: str) -> None:
    """The process's short name (15 bytes), as ps shows it. prctl(2), PR_SET_NAME."""
    _prctl_text("PR_SET_NAME", PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def set_child_subreaper(on: int = 1) -> None:
    """1: orphaned descendants become children of this process; 0: not. prctl(2), PR_SET_CHILD_SUBREAPER, ≥ 3.4."""
    _prctl_plain(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0)


def set_no_new_privs() -> None:
    """execve(2) grants nothing any more (set-user-ID bits, file capabilities). prctl(2), PR_SET_NO_NEW_PRIVS, ≥ 3.5."""
    _prctl("PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_keep_caps(keep: int) -> None:
    """1: permitted capabilities survive leaving user 0. prctl(2), PR_SET_KEEPCAPS."""
    _prctl("PR_SET_KEEPCAPS", PR_SET_KEEPCAPS, keep, 0, 0, 0)


def drop_bounding(capability: int) -> None:
    """Take one capability out of the bounding set, for good. capabilities(7), PR_CAPBSET_DROP."""
    _prctl_plain(PR_CAPBSET_DROP, capability, 0, 0, 0)  # forty times in each start


def clear_ambient() -> None:
    """Empty the ambient set. prctl(2), PR_CAP_AMBIENT_CLEAR_ALL, ≥ 4.3."""
    _prctl("PR_CAP_AMBIENT_CLEAR_ALL", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def raise_ambient(capability: int) -> None:
    """Add one capability, which must be permitted and inheritable, to the ambient set. prctl(2), ≥ 4.3."""
    _prctl(f"PR_CAP_AMBIENT_RAISE {capability}", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def personality(domain: int) -> None:
    """The execution domain: PER_LINUX 0, PER_LINUX32 8, plus flags. personality(2)."""
    _personality(f"{domain:#x}", domain)


def join_session_keyring(name: str) -> None:
    """A session keyring of one's own, so that the container does not see the caller's keys. keyctl(2)."""
    _keyctl_text(f"KEYCTL_JOIN_SESSION_KEYRING {name}", _KEYCTL_JOIN_SESSION_KEYRING, name.encode())


def close_on_exec_from(first: int) -> None:
    """Mark `first` and every higher descriptor close-on-exec. close_range(2), CLOSE_RANGE_CLOEXEC ≥ 5.11."""
    _close_range(f"from {first}", first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor that is not in `keep`. close_range(2), ≥ 5.9."""
    first = 0
    for fd in sorted(keep):
        if fd > first:
            _close_range(f"{first} to {fd - 1}", first, fd - 1, 0)
        first = fd + 1
    _close_range(f"from {first}", first, 0xFFFFFFFF, 0)


def execveat(fd: int, arguments: list[str], environment: dict[str, str]) -> None:
    """Execute the file behind `fd`; returns only by raising. execveat(2), AT_EMPTY_PATH, ≥ 3.19."""
    argv = strings([os.fsencode(a) for a in arguments])
    envp = strings([os.fsencode(f"{k}={v}") for k, v in environment.items()])
    _execveat(f"descriptor {fd}", fd, b"", argv, envp, _AT_EMPTY_PATH)


def default_action(number: int) -> None:
    """SIG_DFL for a signal that the C library hides. rt_sigaction(2): handler, flags, restorer, mask are zero."""
    _rt_sigaction(f"signal {number}", number, bytes(32), 0, 8)


def ioprio_set(io_class: int, level: int) -> None:
    """This process's I/O priority: class 1 real time, 2 best effort, 3 idle; level 0-7. ioprio_set(2)."""
    _ioprio_set(f"class {io_class} level {level}", 1, 0, io_class << 13 | level)


def sched_setattr(
    policy: int, flags: int, nice: int, priority: int, runtime: int = 0, deadline: int = 0, period: int = 0
) -> None:
    """This process's scheduling policy (SCHED_*) and its parameters. sched_setattr(2), Linux ≥ 3.14.

    `flags` are SCHED_FLAG_*; the three times, of SCHED_DEADLINE, are in nanoseconds.
    """
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period: 48 bytes in its first version.
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    _sched_setattr(f"policy {policy} priority {priority} nice {nice}", 0, attributes, 0)
