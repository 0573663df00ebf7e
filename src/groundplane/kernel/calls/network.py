"""The little that a new network namespace needs before netlink: its loopback device, up. netdevice(7)."""

from __future__ import annotations

import fcntl
import struct
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket  # the C module: `socket` costs 3 ms at import

from groundplane.kernel.errors import KernelError

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sH22x")  # struct ifreq with its flags


def loopback_up() -> None:
    """Set `lo` of this network namespace up; the kernel gives it 127.0.0.1 and ::1 by itself."""
    endpoint = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        request = fcntl.ioctl(endpoint.fileno(), _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        flags = _IFREQ.unpack(request)[1]
        fcntl.ioctl(endpoint.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
    except OSError as error:
        raise KernelError.of("ioctl SIOCSIFFLAGS", error, "lo") from error
    finally:
        endpoint.close()
