"""All benchmarks, ours and the installed peers in one run; writes docs/quality/performance.md.

python -m bench [--quick] [--only machine,store,engine,…] [--print]      (as root)
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.api_rows import api_rows
from bench.engine_rows import engine_rows, runtime_rows
from bench.etcd_rows import etcd_rows
from bench.platform_rows import platform_rows
from bench.rows import Row, table
from bench.store_rows import store_rows
from bench.yardsticks import machine_rows
from tests.real.host_state import left_since, traces

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/quality/performance.md"
Part = Callable[[], list[Row]]


def parts(*, quick: bool) -> dict[str, tuple[str, Part]]:
    """What there is to measure: name → (heading, work)."""
    rounds = 5 if quick else 21
    return {
        "machine": ("The machine itself", lambda: _machine(rounds)),
        "store": (
            "The store",
            lambda: [
                *store_rows(rounds=rounds, seconds=0.5 if quick else 2.0, revisions=200_000 if quick else 1_000_000),
                *etcd_rows(rounds=rounds, seconds=0.5 if quick else 2.0),
            ],
        ),
        "engine": ("Containers", lambda: engine_rows(rounds=rounds)),
        "runtime": ("The OCI runtime", lambda: runtime_rows(rounds=rounds)),
        "api": ("The API server", lambda: api_rows(rounds=rounds, seconds=1 if quick else 3)),
        "platform": (
            "The platform",
            lambda: platform_rows(rounds=1 if quick else 3, idle=5 if quick else 20),
        ),
    }


def _machine(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ground-bench-") as directory:
        return machine_rows(directory, rounds)


def facts() -> str:
    """What ran, where: a figure without these says nothing."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    load = os.getloadavg()[0]
    lines = [
        f"- measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {_commit()}",
        f"- {os.cpu_count()} × {model[0].partition(':')[2].strip() if model else platform.machine()}, "
        f"{memory:.0f} GiB, Linux {platform.release()}, CPython {platform.python_version()}",
        f"- load when it began: {load:.1f} (a shared machine shows here; then only ratios mean something)",
        f"- peers: {', '.join(_versions())}",
    ]
    return "\n".join(lines)


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _versions() -> list[str]:
    found = []
    for words in (["podman", "--version"], ["runc", "--version"], ["crun", "--version"], ["wrk", "--version"]):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            found.append(f"{words[0]} is not installed")
            continue
        found.append((done.stdout or done.stderr).splitlines()[0].split("Copyright")[0].strip())
    return found


INTRODUCTION = """# Performance

Written by `make bench` (`bench/__main__.py`); do not edit. Each cell is the median, then (least–most, samples).
Everybody runs once in each round, so that a noisy moment is noisy for all, and a ratio is worth more than a time.

"""

CAVEATS = """
## What to know when reading

- "measured before" stands for programs that are not installed here (kube-apiserver, kubelet, kube-scheduler): medians
  that were measured on a machine of the same kind, not in this run.
- podman runs with runc, because its crun refuses hosts that have cgroup v1 and v2 at once, and with no events log.
- crun 1.8 itself runs where version 2 is hidden from it, with the same bundle as of specification 1.0, the newest it
  knows (`bench/room.py`).
- dockerd is not measured: it wants iptables and a containerd of its own, and a benchmark should not change its host.
- Whoever moves another process into a cgroup, as runc and crun do, waits for a grace period of 5–15 ms, unless a
  hierarchy was mounted with `favordynmods` since the kernel booted. Groundplane does not wait (docs/design/cgroups.md).
  A yardstick above says what such a move costs on this machine: where it is below a millisecond, the peers are faster
  here than on a machine that was just booted. On one that was, in an emulated guest (`PYTHONPATH=. .venv/bin/python -m
  tests.guest hybrid python3 -m bench.runtime`), the resident launch is 0.25 × runc: 66 ms and 261 ms there.
- The package's bytecode is compiled before the run, as in an installed package. Without it (a checkout where
  PYTHONDONTWRITEBYTECODE is set) the daemon starts 300–400 ms later; `make` compiles it.
- What `ground up` spends is imports, nearly all: about 0.4 s of 0.5 s; engine, control plane with new certificates and
  node take 0.11 s together.
- A cold `ground-runtime run` is, in processor time: a third the start of the interpreter and its `site`, a fifth the
  modules (one file has them all, `src/groundplane/base/bundle.py`; it is written by the first run), a fifth the process
  that becomes the container, the rest cgroups, state file and clearing up. Until it executed its program from a
  trampoline (`src/groundplane/kernel/trampoline.py`) it started a second interpreter, and took 1.4 times as long.
- Of a resident launch half is the kernel's (namespaces, mounts, cgroups, execve), a quarter page faults: both sides of
  a fork copy what they touch, 1.1 µs for a page here.
- A supervisor owns 0.44 MB: 0.25 MB are pages of Python's arenas that it no longer shares because it counts references
  in them, 0.10 MB the interpreter's own data, 0.07 MB the C heap. See docs/design/processes.md.
- Memory is the proportional set (`Pss`): pages shared with other programs of the host count in part.
- Latencies of the API contain the measuring client (Python, TLS), on the same two processors.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ours and the installed peers, one run.")
    parser.add_argument("--quick", action="store_true", help="few rounds: a minute instead of five; noisier")
    parser.add_argument("--only", default="", help="comma-separated parts, which alone are measured and written anew")
    parser.add_argument("--print", action="store_true", help="print only, do not write the page")
    wish = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: starting containers needs root")
    known = parts(quick=wish.quick)
    chosen = wish.only.split(",") if wish.only else list(known)
    if unknown := sorted(set(chosen) - set(known)):
        sys.exit(f"bench: no part {unknown[0]!r}; there are {', '.join(known)}")
    compileall.compile_dir(ROOT / "src", quiet=1)  # as an installed package is, also where Python may not keep bytecode
    before = traces()
    head, pages = INTRODUCTION + facts() + "\n", dict[str, str]()
    for name in chosen:
        heading, work = known[name]
        began = time.monotonic()
        pages[heading] = table(work())
        print(
            f"\n## {heading}\n\n{pages[heading]}", f"({name}: {time.monotonic() - began:.0f} s)", sep="\n", flush=True
        )
    if left := left_since(before):
        sys.exit("bench: left on the host:\n" + "\n".join(left))
    if wish.print:
        return
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    if wish.only:
        PAGE.write_text(with_parts(PAGE.read_text(), pages, [heading for heading, _ in known.values()]))
    else:
        PAGE.write_text(head + "".join(f"\n## {heading}\n\n{text}" for heading, text in pages.items()) + CAVEATS)
    print(f"written: {PAGE.relative_to(ROOT)}")


def with_parts(page: str, parts: dict[str, str], order: list[str]) -> str:
    """The page with these parts measured anew, each with its own date; `order` is that of all headings."""
    head, *sections = page.split("\n## ")
    found = dict(section.split("\n", 1) for section in sections)
    measured = (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {_commit()}, load {os.getloadavg()[0]:.1f}"
    )
    for heading, text in parts.items():
        found[heading] = f"\nMeasured apart from the rest, {measured}.\n\n{text}"
    known = [heading for heading in order if heading in found]
    kept = [*known, *(heading for heading in found if heading not in known)]
    return head + "".join(f"\n## {heading}\n{found[heading]}" for heading in kept)


if __name__ == "__main__":
    main()
