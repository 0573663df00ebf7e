"""Pseudo-terminals: a pair from a given devpts, the controlling terminal, the window's size. pty(7), ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import os
import struct

from groundplane.kernel.errors import KernelError

# asm-generic/ioctls.h
_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_TIOCGPTN = 0x80045430
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TCGETS = 0x5401
_TCSETS = 0x5402


def open_pair(ptmx: int) -> tuple[int, str]:
    """The slave's descriptor and number of the master `ptmx`, unlocked.

    The slave is opened through the master (TIOCGPTPEER, Linux ≥ 4.13) and not by its path, which a container could
    have replaced (CVE-2025-52565).
    """
    try:
        fcntl.ioctl(ptmx, _TIOCSPTLCK, struct.pack("i", 0))
        number = struct.unpack("I", fcntl.ioctl(ptmx, _TIOCGPTN, bytes(4)))[0]
        slave = fcntl.ioctl(ptmx, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("ioctl", error, "/dev/ptmx") from error
    return slave, str(number)


def set_controlling(fd: int) -> None:
    """Make `fd` this session's controlling terminal (TIOCSCTTY); the caller leads a session without one."""
    try:
        fcntl.ioctl(fd, _TIOCSCTTY, 0)
    except OSError as error:
        raise KernelError.of("ioctl TIOCSCTTY", error) from error


def set_size(fd: int, rows: int, columns: int) -> None:
    """The window's size; the foreground process group gets SIGWINCH (TIOCSWINSZ)."""
    try:
        fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    except OSError as error:
        raise KernelError.of("ioctl TIOCSWINSZ", error) from error


def get_size(fd: int) -> tuple[int, int]:
    """The window's (rows, columns) (TIOCGWINSZ)."""
    try:
        rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, _TIOCGWINSZ, bytes(8)))
    except OSError as error:
        raise KernelError.of("ioctl TIOCGWINSZ", error) from error
    return rows, columns


def clear_onlcr(fd: int) -> None:
    """Do not turn line feeds into carriage return and line feed on output, as runc sets its consoles up."""
    try:
        attributes = bytearray(fcntl.ioctl(fd, _TCGETS, bytes(60)))
        flags = struct.unpack_from("4I", attributes)
        struct.pack_into("4I", attributes, 0, flags[0], flags[1] & ~0o4, *flags[2:])  # c_oflag, ONLCR
        fcntl.ioctl(fd, _TCSETS, bytes(attributes))
    except OSError as error:
        raise KernelError.of("ioctl TCSETS", error) from error
