"""The spawner keeps the daemon: starts it, starts it again, adopts one, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.real import leaks

from groundplane.kernel.processes import start_ticks
from groundplane.runtime.resident.command import spawner_argv

pytestmark = pytest.mark.needs("root", "cgroups")

_DAEMON = str(Path(__file__).with_name("resident_daemon.py"))


class Kept:
    """A spawner over the daemon of `resident_daemon.py`."""

    def __init__(self, run: Path) -> None:
        self.run = run
        run.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []

    def daemon(self, *words: str) -> list[str]:
        return [sys.executable, _DAEMON, str(self.run), *words]

    def start(self, argv: list[str], **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process  # type: ignore[no-any-return]

    def start_ready(self) -> tuple[subprocess.Popen[bytes], int]:
        """A spawner whose daemon has greeted it, and the readiness pipe."""
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        spawner = self.start(spawner_argv(str(self.run), self.daemon(), ready_fd=writing), close_fds=False)
        os.close(writing)
        assert os.read(reading, 100) == b"ready"
        return spawner, reading

    def lives(self) -> list[int]:
        path = self.run / "lives"
        return [int(line.split(" ")[0]) for line in path.read_text().splitlines()] if path.exists() else []


def eventually(what: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def kept(state_root: Path) -> Iterator[Kept]:
    made = Kept(state_root / "run")
    yield made
    for process in made.started:
        process.terminate()
        process.wait(60)
    eventually(lambda: not leaks.processes([made.run]))  # its forks hear of its death from the kernel


def test_a_killed_daemon_is_started_again_and_term_ends_both(kept: Kept) -> None:
    spawner, reading = kept.start_ready()
    for count in (1, 2):
        eventually(lambda: len(kept.lives()) == count)  # noqa: B023 because it is called before the next turn
        eventually(lambda: bool(leaks.processes([kept.run])))
        os.kill(kept.lives()[-1], signal.SIGKILL)
    eventually(lambda: len(kept.lives()) == 3)
    assert os.read(reading, 100) == b""  # nobody holds the readiness pipe any more
    os.close(reading)
    spawner.terminate()
    assert spawner.wait(60) == 0
    assert not os.path.exists(kept.run / "spawner.sock")


def test_a_daemon_that_ends_by_itself_ends_the_spawner(kept: Kept) -> None:
    spawner = kept.start(spawner_argv(str(kept.run), kept.daemon()))
    eventually(lambda: len(kept.lives()) == 1)
    os.kill(kept.lives()[0], signal.SIGTERM)
    assert spawner.wait(60) == 0


def test_a_daemon_that_cannot_start_is_not_tried_again(kept: Kept) -> None:
    spawner = kept.start(spawner_argv(str(kept.run), kept.daemon("early")))
    assert spawner.wait(60) == 7
    assert len(kept.lives()) == 1


def test_a_new_spawner_keeps_the_daemon_that_started_it(kept: Kept) -> None:
    first, reading = kept.start_ready()  # a daemon that has not greeted yet would die of its spawner's death
    os.close(reading)
    [daemon] = kept.lives()
    first.kill()
    first.wait(60)
    argv = spawner_argv(str(kept.run), kept.daemon())
    argv[argv.index("--") : argv.index("--")] = ["--daemon", f"{daemon}:{start_ticks(daemon)}"]
    second = kept.start(argv)
    eventually(lambda: any(" ground-spawner " in line for line in leaks.processes([kept.run])))
    assert kept.lives() == [daemon]
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: len(kept.lives()) == 2)
    second.terminate()
    assert second.wait(60) == 0


def test_two_spawners_for_one_directory_are_refused(kept: Kept) -> None:
    kept.start(spawner_argv(str(kept.run)))
    eventually(lambda: os.path.exists(kept.run / "spawner.sock"))
    done = subprocess.run(spawner_argv(str(kept.run)), capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"a spawner serves {kept.run} already" in done.stderr.decode()


@pytest.mark.parametrize("words", [[], ["--run"], ["--nope", "x"], ["--run", "x", "y"]])
def test_wrong_words_are_a_usage_error(words: list[str]) -> None:
    argv = [*spawner_argv("x")[:5], *words]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: ")
