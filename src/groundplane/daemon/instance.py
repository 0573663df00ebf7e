"""One instance of Groundplane on this host: its directories, its owner's lock, its durable roles.

ROOT/owner.lock       flock of the groundd that owns this root, with its pid and RUN; a second one gets a sentence
ROOT/platform.json    roles and settings chosen with `ground up`, so that a restarted daemon comes back as it was
ROOT/log/groundd.log  what the daemon says
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import asdict, fields, replace
from typing import Any

from groundplane.base import files
from groundplane.base.errors import ConflictError, GroundError
from groundplane.base.jsonyaml import DecodeError, dumps_pretty, loads
from groundplane.base.settings import Settings

ROLES = ("engine", "control-plane", "node")


_OWNER = "owner.lock"
# By these a directory of ours is known: ROOT's lock, or a store alone (`ground store restore`, `ground apiserver`);
# what every RUN has before anything else, and what of it is in use where somebody tried to remove it.
_MARKS = {_OWNER, "store", "start.lock", "spawner.lock", "ground.sock", "c", "s"}


def owner(settings: Settings) -> str:
    """The RUN directory of the groundd that owns this root now; empty: nobody does."""
    try:
        fd = os.open(os.path.join(settings.root, _OWNER), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 4096, 0).decode().partition("\n")[2].strip() or "?"  # it has not written it yet
    finally:
        os.close(fd)
    return ""


class Instance:
    """The state of one root. `lock` before anything is changed in it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = -1

    @property
    def platform_file(self) -> str:
        return os.path.join(self.settings.root, "platform.json")

    @property
    def log_file(self) -> str:
        return os.path.join(self.settings.root, "log", "groundd.log")

    def make_directories(self) -> None:
        """ROOT (0711: container users must reach their roots) and RUN (0755: the socket has its own mode).

        Raises GroundError, and changes nothing in a directory with files of somebody else: `down --purge` takes all.
        """
        for what, path in (("root", self.settings.root), ("run", self.settings.run)):
            if is_foreign(path):
                raise GroundError(f"{what} directory {path}: files of others are in it, and none of Groundplane's")
        _make(self.settings.root, 0o711)
        os.close(self._open_lock())
        _make(os.path.dirname(self.log_file), 0o750)
        _make(self.settings.run, 0o755)

    def _open_lock(self) -> int:
        return os.open(os.path.join(self.settings.root, _OWNER), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def lock(self) -> None:
        """Become the owner of the root. Raises ConflictError naming who owns it."""
        self._lock = self._open_lock()
        try:
            # flock(2) with LOCK_SH is how `owner` looks, for a moment: a look must not be taken for an owner.
            _take(self._lock)
        except BlockingIOError:
            pid = os.pread(self._lock, 4096, 0).decode().partition("\n")[0]
            os.close(self._lock)
            self._lock = -1
            raise ConflictError(
                f"state root {self.settings.root}: owned by the running groundd with pid {pid};"
                " use that one, or another --root and --run"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n{self.settings.run}\n".encode(), 0)

    def unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def roles(self) -> tuple[str, ...]:
        """The durable roles; the engine is always one."""
        found = self._read().get("roles") or []
        return tuple(role for role in ROLES if role == "engine" or role in found)

    def chosen_settings(self) -> Settings:
        """The settings given to this process, with those that `ground up` made durable beneath them."""
        defaults, stored = Settings(), self._read().get("settings") or {}
        names = {f.name for f in fields(Settings)}
        kept = {
            name: value
            for name, value in stored.items()
            if name in names and getattr(self.settings, name) == getattr(defaults, name)
        }
        return replace(self.settings, **kept)

    def save(self, roles: tuple[str, ...]) -> None:
        """Make roles and today's settings durable. Raises GroundError."""
        defaults = Settings()
        changed = {
            k: v for k, v in asdict(self.settings).items() if v != getattr(defaults, k) and k not in ("root", "run")
        }
        text = dumps_pretty({"roles": list(roles), "settings": changed})
        try:
            files.replace(self.platform_file, text, durable=True)
        except OSError as error:
            raise GroundError(f"{self.platform_file} cannot be written: {os.strerror(error.errno or 0)}") from error

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.platform_file, "rb") as file:
                document = loads(file.read())
        except FileNotFoundError:
            return {}
        except (OSError, DecodeError) as error:
            raise GroundError(f"{self.platform_file}: {error}; mend or remove it, and run `ground up` again") from error
        return document if isinstance(document, dict) else {}


def _take(fd: int) -> None:
    """Raises BlockingIOError once it is sure that somebody holds the lock, and not for a look only."""
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.005)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _make(path: str, mode: int) -> None:
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
        os.chmod(path, mode)
    except OSError as error:
        raise GroundError(f"cannot make the directory {path}: {os.strerror(error.errno or 0)}") from error


def is_foreign(path: str) -> bool:
    """Whether this directory holds files and none of ours: no place for our state, and not ours to remove."""
    try:
        names = set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(names - {"lost+found"}) and not names & _MARKS
