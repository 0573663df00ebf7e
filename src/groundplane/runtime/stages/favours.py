"""What outside does for inside because inside has not the right: the rarer requests of `talk.py`, loaded on demand."""

from __future__ import annotations

import os
from _socket import AF_UNIX as _AF_UNIX  # the C module: `socket` costs 3 ms at import
from _socket import SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from groundplane.base.errors import GroundError
from groundplane.kernel import idmaps
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.files import RESOLVE_IN_ROOT, openat2
from groundplane.kernel.calls.process import pidfd_getfd
from groundplane.kernel.errors import KernelError
from groundplane.oci.runtime import VERSION
from groundplane.runtime import options
from groundplane.runtime.hooks import complete_state
from groundplane.runtime.wording import strerror, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundplane.oci.runtime import Config, Mount


class FavourError(GroundError):
    """It could not be done; the sentence says for what."""


def open_source(pid: int, path: str) -> int:
    """A path of the host's, walked with our rights but among the mounts of `pid`, which can then clone it."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("open", error, f"/proc/{pid}/root") from error
    try:
        return openat2(root, path, os.O_PATH, RESOLVE_IN_ROOT)
    except KernelError as error:
        raise KernelError("stat", error.errno, path) from None
    finally:
        os.close(root)


def map_owners(pid: int, mount: Mount, tree: int) -> None:
    """Map the owners of a detached mount that `pid` has made. mount_setattr(2), MOUNT_ATTR_IDMAP, ≥ 5.12.

    Done here, because the kernel wants CAP_SYS_ADMIN in the user namespace that the file system itself belongs to.
    Without mappings of the mount's own the container's user namespace lends its (config.md, "Mounts").
    """
    parsed = options.parse(mount.options)
    try:
        namespace = _namespace(pid, mount)
        try:
            recursive = parsed.recursive_idmap and parsed.recursive
            change = m.MOUNT_ATTR_IDMAP
            m.mount_setattr(tree, set=change, userns_fd=namespace, recursive=recursive, what=mount.source)
        finally:
            os.close(namespace)
    except KernelError as error:
        what = f'error mounting "{mount.source}" to rootfs at "{mount.destination}"'
        raise FavourError(f"error during container init: {what}: {words(error)}") from None
    finally:
        os.close(tree)


def _namespace(pid: int, mount: Mount) -> int:
    if not mount.uid_mappings:
        return idmaps.of_process(pid)
    uids = [(one.container_id, one.host_id, one.size) for one in mount.uid_mappings]
    gids = [(one.container_id, one.host_id, one.size) for one in mount.gid_mappings]
    return idmaps.namespace(uids, gids)


def move_devices(pid: int, config: Config) -> None:
    """Network devices of ours become the container's, with their addresses (runtime-spec 1.3, netDevices)."""
    from groundplane.kernel.netlink.moving import move

    for name, device in config.linux.net_devices.items():
        try:
            move(name, f"/proc/{pid}/ns/net", device.name or name)
        except KernelError as error:
            raise FavourError(f"error during container init: network device {name}: {words(error)}") from None


def hand_over_listener(
    pid: int, pidfd: int, descriptor: int, listener: tuple[str, str], state: Mapping[str, object]
) -> None:
    """Send the seccomp listener `descriptor` of `pid` to its agent, with the container process state.

    config-linux.md, "The Container Process State": one connection, one state, then it is closed.
    """
    import json  # late: 5 ms

    path, metadata = listener
    document: dict[str, object] = {"ociVersion": VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        document["metadata"] = metadata
    document["state"] = complete_state(state, pid)
    what = f"failed to connect with seccomp agent specified in the seccomp profile: dial unix {path}: connect"
    fd = pidfd_getfd(pidfd, descriptor)
    try:
        endpoint = socket(_AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            endpoint.connect(path)
            what = f"cannot send seccomp fd to {path}"
            send_with_fd(endpoint, json.dumps(document).encode(), fd)
        finally:
            endpoint.close()
    except OSError as error:
        raise FavourError(f"error during container init: {what}: {strerror(error.errno or 0)}") from error
    finally:
        os.close(fd)


def send_with_fd(endpoint: socket, data: bytes, fd: int) -> None:
    """Send all of `data`, and the descriptor with its first byte. Raises OSError."""
    sent = endpoint.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
    if sent < len(data):  # to send nothing more is EPIPE where who has read all of it is gone already
        endpoint.sendall(data[sent:])
