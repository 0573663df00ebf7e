"""How the command line tells an error: logrus's lines, which Docker, containerd and podman read from `--log`."""

from __future__ import annotations

import os
import sys
import time

from groundplane.base.errors import GroundError
from groundplane.runtime.wording import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")


class Log:
    """Where `--log` and `--log-format` say; standard error and text without them."""

    __slots__ = ("_debug", "_format", "_path")

    def __init__(self, path: str = "", format: str = "text", *, debug: bool = False) -> None:
        self._path = path
        self._format = format
        self._debug = debug

    def open(self) -> None:
        """Make the file where it is none yet, and find out now whether that can be. Raises GroundError."""
        if not self._path:
            return
        try:
            os.close(self._append())
        except OSError as error:
            path, self._path = self._path, ""
            raise GroundError(f"open {path}: {strerror(error.errno or 0)}") from error

    def _append(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    @property
    def to_file(self) -> bool:
        return bool(self._path)

    def debug(self, message: str) -> None:
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        self._write("warning", message)

    def error(self, message: str) -> None:
        self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._format == "json":
            import json

            line = json.dumps({"level": level, "msg": message, "time": stamp}, separators=(",", ":"))
        else:
            line = f"time={_quote(stamp)} level={level} msg={_quote(message)}"
        if not self._path:
            print(line, file=sys.stderr)
            return
        try:
            fd = self._append()
        except OSError as error:
            print(f"{self._path}: {error.strerror}\n{line}", file=sys.stderr)
            return
        with os.fdopen(fd, "w") as file:
            _write_line(file, line)


def _write_line(file: TextIO, line: str) -> None:
    file.write(line + "\n")


def _quote(text: str) -> str:
    """As logrus: bare where every character is harmless, else in double quotes with Go's escapes."""
    if text and not set(text) - _PLAIN:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
