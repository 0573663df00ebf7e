"""kill -9 while images are made, unpacked, mounted and removed: what is left is whole, and the next start tidies up."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fakes.images import store
from tests.real import images_victim, leaks

from groundplane.engine.snapshots.overlay import Overlay

pytestmark = pytest.mark.needs("root", "overlay")
ROUNDS = 12


def test_a_killed_store_is_whole(state_root: Path) -> None:
    chance = random.Random(7)
    for _ in range(ROUNDS):
        _run_and_kill(state_root, chance.uniform(0, 0.12))
        asyncio.run(_check(state_root))


def _run_and_kill(directory: Path, seconds: float) -> None:
    victim = subprocess.Popen([sys.executable, images_victim.__file__, str(directory)], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    with victim.stdout:
        assert victim.stdout.readline() == b"ready\n"
        time.sleep(seconds)  # the moment of the kill is what this test varies
        victim.send_signal(signal.SIGKILL)
        victim.wait()


async def _check(directory: Path) -> None:
    images = store(directory)
    for path in (directory / "images/blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert os.listdir(directory / "images/ingest") == []
    assert set(os.listdir(directory / "images")) <= {"blobs", "cache", "index.json", "ingest", "oci-layout"}
    snapshots = Overlay(str(directory / "snapshots"), images)
    await snapshots.sweep([])
    assert leaks.mounts([directory]) == []
    assert os.listdir(directory / "snapshots/trash") == os.listdir(directory / "snapshots/containers") == []
    for image in images.list():
        await snapshots.prepare("check", image.id)
        root = Path(snapshots.mount("check"))
        numbers = (root / "srv/file").read_text().split()
        assert len(numbers) == 20000 and len(set(numbers)) == 1
        await snapshots.remove("check")
    snapshots.close()
