"""Leaving this host: wait until daemon and spawner have ended, then remove what they kept.

Nothing is removed below a mount that is still there: that would reach into somebody else's files.
"""

from __future__ import annotations

import os
import shutil
import time

from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings
from groundplane.daemon.instance import is_foreign, owner
from groundplane.kernel.calls import mount

_END_SECONDS = 30.0


class LeavingError(GroundError):
    """Something is still in use; the sentence says what. What was removed so far was ours."""


def needs_daemon(settings: Settings) -> bool:
    """Whether containers, sandboxes or a pod network may be left that only a daemon can take away."""
    for name in ("containers", "sandboxes", "networks"):
        folder = os.path.join(settings.root, name)
        if os.path.isdir(folder) and os.listdir(folder):
            return True
    return False


def await_end(settings: Settings) -> None:
    """Return once nobody owns the root and the spawner's socket is gone. Raises LeavingError."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        if not owner(settings) and not os.path.exists(settings.spawner_socket):
            return
        if time.monotonic() > deadline:
            raise LeavingError(f"the daemon of {settings.root} has not ended after {_END_SECONDS:.0f} s; see its log")
        time.sleep(0.01)


def purge(settings: Settings) -> None:
    """Remove root and run. Raises LeavingError where one is not ours, or something is still mounted below it."""
    roots = [os.path.realpath(path) for path in (settings.root, settings.run)]
    for root in roots:
        if is_foreign(root):
            raise LeavingError(f"{root}: files of others are in it, and none of Groundplane's; nothing was removed")
    for root in roots:
        for point in mount.points_below(root):
            raise LeavingError(f"{point} is still mounted; `umount {point}`, then run `ground down --purge` again")
    for root in roots:
        if os.path.isdir(root):
            try:
                shutil.rmtree(root)
            except OSError as error:
                raise LeavingError(f"cannot remove {error.filename or root}: {error.strerror}") from error
