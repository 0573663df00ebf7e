"""The engine as a user feels it: `ground run --rm`, `exec`, `ps`, beside podman in the same run; images from this host.

    python -m bench.engine            (as root; podman is left out where it is not installed)

Each round runs everybody once, whole processes, so that a noisy machine is noisy for all. Both use a busybox image, no
network, overlay storage of their own, and podman runc (its crun drops cgroups on hybrid hosts).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import room
from tests.real.ground_rig import Ground, ground

from groundplane.kernel.cgroups import registry

ROUNDS = 21
AT_ONCE = 8  # of the burst
Work = Callable[[], None]
_PODMAN = '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'


def quietly(words: list[str], environ: dict[str, str]) -> None:
    subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def ours(g: Ground) -> dict[str, Work]:
    program = str(Path(sys.executable).parent / "ground")
    busybox = str(shutil.which("busybox"))
    g.ok(
        "image",
        "from-host",
        "--name",
        "box",
        "--add",
        f"{busybox}:/bin/sleep",
        "--add",
        f"{busybox}:/bin/true",
        busybox,
    )
    g.ok("run", "-d", "--name", "lasting", "box", "sleep", "1000000")
    rows = {"run --rm true": ["run", "--rm", "box", "true"], "exec true": ["exec", "lasting", "true"], "ps": ["ps"]}
    return {name: _call([program, *words], g.environ) for name, words in {**rows, "version": ["version"]}.items()}


def podman(directory: Path, parent: str) -> dict[str, Work]:
    (directory / "containers.conf").write_text(_PODMAN)
    environ = {**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf")}
    words = ["podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp"]
    words += ["--storage-driver", "overlay", "--runtime", "runc"]
    root = directory / "image/bin"
    root.mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), root / "busybox")
    for name in ("true", "sleep"):
        (root / name).symlink_to("busybox")
    quietly(["tar", "-C", str(directory / "image"), "-cf", str(directory / "image.tar"), "."], environ)
    quietly([*words, "import", "--quiet", str(directory / "image.tar"), "box"], environ)
    run = ["run", "--net", "none", "--cgroup-parent", f"/{parent}"]
    quietly([*words, *run, "-d", "--name", "lasting", "box", "sleep", "1000000"], environ)
    return {
        "run --rm true": _call([*words, *run, "--rm", "box", "true"], environ),
        "exec true": _call([*words, "exec", "lasting", "true"], environ),
        "ps": _call([*words, "ps"], environ),
        "version": _call(["podman", "--version"], environ),
        "": _call([*words, "rm", "--force", "--all", "--time", "0"], environ),
    }


@contextmanager
def peer() -> Iterator[dict[str, Work]]:
    """podman's works by row name; empty where it is not installed. Nothing of it stays."""
    if not shutil.which("podman"):
        yield {}
        return
    directory = Path(tempfile.mkdtemp(prefix="ground-bench-", dir="/tmp"))
    parent = f"ground-bench-{os.getpid()}"
    works: dict[str, Work] = {}

    def make() -> None:
        works.update(podman(directory, parent))

    try:
        with room.room(room.groups_of_its_own, AT_ONCE) as inside:
            inside(make)()
            try:
                yield {name: inside(work) for name, work in works.items() if name}
            finally:
                inside(works[""])()
    finally:
        groups = registry.detect()
        if groups.exists(parent):
            groups.remove(parent)
        shutil.rmtree(directory, ignore_errors=True)


def _call(words: list[str], environ: dict[str, str]) -> Work:
    return lambda: quietly(words, environ)


def median(works: dict[str, Work]) -> dict[str, float]:
    """Milliseconds, rounds interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def images(g: Ground) -> None:
    for words in (["python3"], ["python3"]):
        begin = time.perf_counter()
        g.ok("image", "from-host", "--name", "python", *words)
        print(f"image from-host {words[0]:<22} {time.perf_counter() - begin:6.2f} s")


def main() -> None:
    with ground() as g, peer() as theirs:
        mine = ours(g)
        for name, work in mine.items():
            pair = {"ground": work} | ({"podman": theirs[name]} if theirs else {})
            found = median(pair)
            ratio = f"{found['ground'] / found['podman']:.2f} x podman" if theirs else ""
            print(f"{name:<15} " + "  ".join(f"{who} {ms:6.1f} ms" for who, ms in found.items()) + f"  {ratio}")
        images(g)


if __name__ == "__main__":
    main()
