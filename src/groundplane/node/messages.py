"""What a container said last: its termination message file, or the end of its log."""

from __future__ import annotations

import os

from groundplane.engine.contract import ContainerInfo
from groundplane.node.context import Context
from groundplane.node.starting import message_path
from groundplane.node.views import ATTEMPT, CONTAINER_NAME, Pod, app_containers, init_containers

_MAX_MESSAGE = 4096
_MAX_LOG_BYTES = 2048
_MAX_LOG_LINES = 80


def termination_message(context: Context, pod: Pod, info: ContainerInfo) -> str:
    """At most 4,096 bytes of the message file; with FallbackToLogsOnError, of a failed container's last log lines."""
    labels = info.spec.labels
    name, attempt = labels.get(CONTAINER_NAME, ""), int(labels.get(ATTEMPT, "0"))
    path = message_path(context.volumes.directory(pod["metadata"]["uid"]), name, attempt)
    text = _head(path)
    if text or info.exit_code == 0:
        return text
    for container in (*app_containers(pod), *init_containers(pod)):
        if container["name"] == name and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return _log_tail(info.log_path)
    return ""


def _head(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        return file.read(_MAX_MESSAGE).decode(errors="replace")


def _log_tail(path: str) -> str:
    """The last lines of a CRI log, without their prefixes."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16 * _MAX_LOG_BYTES))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return ""
    words = [line.split(b" ", 3) for line in lines]
    text = b"".join(w[3] if w[2] == b"F" else w[3].rstrip(b"\n") for w in words[-_MAX_LOG_LINES:] if len(w) == 4)
    return text[-_MAX_LOG_BYTES:].decode(errors="replace")
