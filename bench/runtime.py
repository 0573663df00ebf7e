"""The OCI runtime's marks: a cold command line and the resident launch, beside runc and crun in the same run.

python -m bench.runtime            (as root; peers that are not installed or refuse this host are left out)

Each round runs everybody once, so that a noisy machine is noisy for all. The bundle is busybox's `true` with the usual
namespaces and mounts and a cgroup. `launch` is what the resident half does: create and start from a small living
process, cgroups included; `floor` is that process's clone3 with six namespaces and execve.
`python` is the start of the interpreter that a cold `ground-runtime` runs on.
"""

from __future__ import annotations

import json
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
from tests.real.bundles import Box, temporary_box

from groundplane.engine.containers.seccomp import linux_seccomp
from groundplane.kernel.seccomp.tables import load
from groundplane.oci.runtime_linux import Seccomp
from groundplane.oci.runtime_reader import Reader
from groundplane.runtime import launch as runtime_launch
from groundplane.runtime.seccomp import compile_profile, compiled

ROUNDS = 21
Work = Callable[[], None]


def cold(box: Box, program: str) -> Work:
    words = [program, "--root", str(box.directory / "state"), "run", "bench"]

    return lambda: quietly(words, box.directory)


@contextmanager
def resident(box: Box) -> Iterator[dict[str, tuple[Work, Work]]]:
    """`launch` and its `floor` from a small living process (`bench/launcher.py`), each with what follows unmeasured."""
    source = str(Path(runtime_launch.__file__).parents[2])
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]
    words = [*program, source, str(box.directory), box.cgroup]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:

        def ask(word: bytes) -> Work:
            def work() -> None:
                assert child.stdin is not None and child.stderr is not None
                child.stdin.write(word)
                child.stdin.flush()
                if (answer := child.stderr.readline()) != b"done\n":
                    raise RuntimeError((answer + child.stderr.read()).decode())

            return work

        yield {"launch": (ask(b"launch\n"), ask(b"end\n")), "floor": (ask(b"floor\n"), ask(b"end\n"))}
        assert child.stdin is not None
        child.stdin.close()


def interpreter(*words: str) -> tuple[Work, Work]:
    """What nobody who is written in Python can be faster than: its start and its end."""
    command = [sys.executable, *words, "-c", ""]
    return lambda: quietly(command), nothing


def quietly(words: list[str], directory: Path | None = None) -> None:
    """Run it as a user would, so with bytecode and bundles kept, which a checkout's environment may forbid."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(words, cwd=directory, env=environ, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def samples(works: dict[str, tuple[Work, Work]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds, rounds interleaved; each work's second part is not measured."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, after) in works.items():
            begin = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - begin) * 1e3)
            after()
    return taken


def measure(works: dict[str, tuple[Work, Work]]) -> dict[str, tuple[float, float]]:
    """Median and 90th percentile in milliseconds."""
    taken = samples(works, ROUNDS)
    return {name: (statistics.median(t), sorted(t)[len(t) * 9 // 10]) for name, t in taken.items()}


def ours() -> str:
    return str(Path(sys.executable).parent / "ground-runtime")


def works_here(work: Callable[[], None]) -> bool:
    try:
        work()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def nothing() -> None:
    pass


@contextmanager
def works_of(box: Box) -> Iterator[dict[str, tuple[Work, Work]]]:
    """Everybody of one round: ours cold and resident, their floors, and the peers that run here."""
    with resident(box) as works:
        works["ground-runtime"] = (cold(box, ours()), nothing)
        works["python"] = interpreter()
        works["python -I -S"] = interpreter("-I", "-S")
        for work in (works["ground-runtime"][0], works["launch"][0], works["launch"][1]):
            work()  # once before the first round: caches, and the bundle of modules
        if shutil.which("runc") and works_here(cold(box, "runc")):
            works["runc"] = (cold(box, "runc"), nothing)
        with crun_of(box) as crun:
            if shutil.which("crun") and works_here(crun):
                works["crun"] = (crun, nothing)
            yield works


@contextmanager
def crun_of(box: Box) -> Iterator[Work]:
    """crun's cold run: 1.8 knows no specification after 1.0, and no host with both versions of cgroups."""
    older = box.directory / "for-crun"
    older.mkdir()
    document = {**box.config, "ociVersion": "1.0.2", "root": {**box.config["root"], "path": str(box.root)}}
    (older / "config.json").write_text(json.dumps(document))
    words = ["crun", "--root", str(older / "state"), "run", "bench"]

    def work() -> None:
        quietly(words, older)

    with room.room(room.hide_version_2) as inside:
        yield inside(work)


@contextmanager
def bundle_of_true() -> Iterator[Box]:
    with temporary_box() as box:
        box.process["args"] = ["true"]
        held = box.process["capabilities"]["bounding"]
        box.linux["seccomp"] = linux_seccomp(None, held, privileged=False)
        box.save()
        yield box


def seccomp() -> None:
    names = sorted(load("x86_64"))[::2]
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}
    with tempfile.TemporaryDirectory(prefix="ground-bench-") as cache:
        compiled(document, cache)
        begin = time.perf_counter()
        compiled(document, cache)
        kept = time.perf_counter() - begin
    begin = time.perf_counter()
    compile_profile(Seccomp(Reader(document, "seccomp")))
    print(
        f"seccomp: {len(names)} names compiled in {(time.perf_counter() - begin) * 1e3:.2f} ms, kept {kept * 1e3:.2f}"
    )


def main() -> None:
    with bundle_of_true() as box:
        with works_of(box) as works:
            results = measure(works)
        runc = results.get("runc", (float("nan"),))[0]
        for name, (median, worst) in results.items():
            print(f"{name:<15} median {median:6.1f} ms, p90 {worst:6.1f} ms, {median / runc:.2f} x runc")
        seccomp()


if __name__ == "__main__":
    main()
