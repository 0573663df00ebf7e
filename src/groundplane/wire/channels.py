"""The websocket channels of exec and attach: one message is one byte of channel number and the bytes behind it.

`v5.channel.k8s.io` adds to v4 the message 255,N: channel N is closed (how standard input ends). Source:
k8s.io/apimachinery/pkg/util/httpstream/wsstream, k8s.io/client-go/tools/remotecommand (KEP-4006).
"""

from __future__ import annotations

from typing import Any

from groundplane.base import jsonyaml
from groundplane.base.errors import GroundError

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE = 0, 1, 2, 3, 4
CLOSE = 255


class ChannelError(GroundError):
    """The message is not one of the protocol."""


def encode(channel: int, data: bytes) -> bytes:
    return bytes((channel,)) + data


def decode(message: bytes) -> tuple[int, bytes]:
    """(channel, bytes). Raises ChannelError."""
    if not message:
        raise ChannelError("channel message: a channel number expected, nothing found")
    if message[0] > RESIZE and message[0] != CLOSE:
        raise ChannelError(f"channel message: channel {message[0]} does not exist")
    return message[0], message[1:]


def read_size(data: bytes) -> tuple[int, int]:
    """(rows, columns) of a resize message, `{"Width":80,"Height":24}`. Raises ChannelError."""
    try:
        size = jsonyaml.loads(data)
    except jsonyaml.DecodeError as error:
        raise ChannelError(f"resize message: {error}") from error
    rows, columns = (size.get("Height"), size.get("Width")) if isinstance(size, dict) else (None, None)
    if not isinstance(rows, int) or not isinstance(columns, int) or not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise ChannelError("resize message: Width and Height expected")
    return rows, columns


def write_size(rows: int, columns: int) -> bytes:
    return jsonyaml.dumps({"Width": columns, "Height": rows})


def exit_status(code: int) -> dict[str, Any]:
    """The Status that the error channel ends with (k8s.io/apimachinery/pkg/util/remotecommand)."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def read_exit(data: bytes) -> int:
    """The exit code in an error channel's Status; a failure without one is 1. Raises ChannelError."""
    status = _status(data)
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
            return int(cause["message"])
    return 1


def failure_of(data: bytes) -> str:
    """Why nothing could be run; empty where the error channel's Status tells an exit code. Raises ChannelError."""
    status = _status(data)
    if status.get("status") == "Success" or status.get("reason") == "NonZeroExitCode":
        return ""
    return str(status.get("message") or "the command failed")


def _status(data: bytes) -> dict[str, Any]:
    try:
        status = jsonyaml.loads(data)
    except jsonyaml.DecodeError as error:
        raise ChannelError(f"status message: {error}") from error
    if not isinstance(status, dict):
        raise ChannelError("status message: an object expected")
    return status
