"""Telling whoever started this daemon how far it is: the other end of `starting`'s pipe."""

from __future__ import annotations

import os


class Ready:
    """Lines into $GROUND_READY_FD; does nothing where nobody waits."""

    def __init__(self) -> None:
        text = os.environ.pop("GROUND_READY_FD", "")
        self._fd = int(text) if text.isdigit() else -1
        if self._fd >= 0:
            os.set_inheritable(self._fd, False)

    def step(self, words: str) -> None:
        self._say(f"step {words}")

    def ready(self) -> None:
        self._say("ready")
        self._close()

    def error(self, sentence: str) -> None:
        self._say("error " + " ".join(sentence.split()))
        self._close()

    def _say(self, line: str) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, line.encode() + b"\n")
        except BrokenPipeError:  # who waited has gone; the daemon goes on
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
