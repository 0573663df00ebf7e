"""Logging: one line an event, `key=value` after the message, to standard error; no secrets, no bodies.

A thin layer over the standard `logging` module; `daemon` configures it once. Loggers are named after their package.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any


class Log:
    """A named logger whose keyword arguments become `key=value` pairs behind the message."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"groundplane.{name}")

    def debug(self, message: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug(_line(message, fields))

    def info(self, message: str, **fields: Any) -> None:
        self._logger.info(_line(message, fields))

    def warning(self, message: str, **fields: Any) -> None:
        self._logger.warning(_line(message, fields))

    def error(self, message: str, **fields: Any) -> None:
        self._logger.error(_line(message, fields))

    def exception(self, message: str, **fields: Any) -> None:
        """An error of ours that nobody expected: the traceback goes to the log, never to a user."""
        self._logger.exception(_line(message, fields))


def _line(message: str, fields: dict[str, Any]) -> str:
    if not fields:
        return message
    return message + "".join(f" {k}={v!r}" if " " in str(v) else f" {k}={v}" for k, v in fields.items())


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix("groundplane.")
        text = f"{stamp}.{int(record.msecs):03d}Z {record.levelname[0]} {name}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(level: str = "info") -> None:
    """Send every logger of ours to standard error at `level` (debug, info, warning, error)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger("groundplane")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
