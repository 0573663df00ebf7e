"""The spawner's entry: reads its few words, takes the run directory's lock, and runs until it is no longer needed."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import sys
import time

from groundplane.base.errors import GroundError, UsageError
from groundplane.kernel.calls import process
from groundplane.runtime import protect
from groundplane.runtime.resident.descriptors import raise_limit
from groundplane.runtime.resident.keeper import Keeper
from groundplane.runtime.resident.spawner import Spawner

_LOCK_PATIENCE = 1.0  # seconds that a dying predecessor has to let go of the lock
_USAGE = "usage: python -m groundplane.runtime.resident --run DIR [--ready-fd N] [--daemon PID:TICKS] [-- DAEMON ARGS…]"


class SpawnerRuns(GroundError):
    """Another spawner serves this run directory."""


def main(argv: list[str] | None = None) -> int:
    """Run the spawner; the exit code of the process."""
    words = sys.argv[1:] if argv is None else argv
    try:
        protect.ensure("groundplane.runtime.resident.main", words)
        return _run(words)
    except GroundError as error:
        os.write(2, f"{error}\n".encode())
        return error.exit_code


def _run(words: list[str]) -> int:
    options, daemon = _parse(words)
    run_dir = options["--run"]
    for name in ("c", "seccomp"):
        os.makedirs(f"{run_dir}/{name}", mode=0o700, exist_ok=True)
    lock = _lock(run_dir)
    process.set_name("ground-spawner")
    process.set_child_subreaper()
    nofile = raise_limit()
    listener = _listen(run_dir)
    keeper = Keeper(daemon, int(options.get("--ready-fd", -1))) if daemon else None
    if keeper is not None and "--daemon" in options:
        pid, _, ticks = options["--daemon"].partition(":")
        keeper.adopt(int(pid), int(ticks))
    gc.collect()
    gc.disable()  # what follows makes no cycles worth a collection, and a collection would unshare pages of every child
    gc.freeze()
    try:
        return Spawner(run_dir, listener, keeper, nofile).run()
    finally:
        os.unlink(f"{run_dir}/spawner.sock")  # whoever waits for our end looks for it; the lock still keeps others away
        os.close(lock)


def _parse(words: list[str]) -> tuple[dict[str, str], list[str]]:
    daemon: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, daemon = words[:at], words[at + 1 :]
    options = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or "--run" not in options or set(options) - {"--run", "--ready-fd", "--daemon"}:
        raise UsageError(_USAGE)
    return options, daemon


def _lock(run_dir: str) -> int:
    """One spawner for each run directory (flock(2): let go of by the kernel when its holder dies)."""
    fd = os.open(f"{run_dir}/spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _answers(run_dir) or time.monotonic() > deadline:
                raise SpawnerRuns(
                    f"a spawner serves {run_dir} already; stop it, or use another run directory"
                ) from None
            time.sleep(0.02)  # its holder is being killed, or just starting
        else:
            return fd


def _answers(run_dir: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(f"{run_dir}/spawner.sock")
        except OSError:
            return False
    return True


def _listen(run_dir: str) -> socket.socket:
    path = f"{run_dir}/spawner.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        raise GroundError(
            f"cannot listen on {path}: {error.strerror or error}; a socket's path ends at 107 bytes"
        ) from error
    finally:
        os.umask(before)
    listener.listen(64)
    return listener
