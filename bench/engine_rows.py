"""Containers as a user starts them: `ground run`, `exec`, a burst, memory of an idle one; podman in the same rounds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench import engine
from bench import runtime as runtime_bench
from bench.memory import daemons_pss
from bench.rows import Figure, Goal, Row, Work, interleaved
from tests.real.ground_rig import Ground, ground

_BURST = 50


def burst(run: Work) -> Work:
    """Fifty of it, eight at a time; raises where one failed."""

    def work() -> None:
        with ThreadPoolExecutor(engine.AT_ONCE) as pool:
            for done in [pool.submit(run) for _ in range(_BURST)]:
                done.result()

    return work


def engine_rows(*, rounds: int) -> list[Row]:
    goals = {"version": Goal(25.0), "run --rm true": Goal(0.4, of="podman"), "exec true": Goal(0.4, of="podman")}
    commands = {
        "version": "ground version",
        "run --rm true": "ground run --rm box true (podman: --runtime runc run --net none --rm box true)",
        "exec true": "ground exec lasting true",
        "ps": "ground ps",
    }
    rows = []
    with ground() as g, engine.peer() as theirs:
        mine = engine.ours(g)
        for name, command in commands.items():
            pair = {"ours": mine[name]} | ({"podman": theirs[name]} if theirs else {})
            rows.append(_row(f"`ground {name}`", interleaved(pair, rounds), command, goals.get(name)))
        pair = {"ours": burst(mine["run --rm true"])}
        if theirs:
            pair["podman"] = burst(theirs["run --rm true"])
        found = interleaved(pair, max(1, rounds // 10))
        command = "ground run --rm box true, 50 times, 8 at a time"
        rows.append(_row("burst of 50 containers, run and removed", found, command, Goal(0.4, of="podman")))
        rows.append(_idle_container(g, 20))
    return rows


def _row(what: str, found: dict[str, Figure], command: str, goal: Goal | None, note: str = "") -> Row:
    mine = found.pop("ours")
    return Row(what, mine, command, found, goal, note)


def _idle_container(g: Ground, count: int) -> Row:
    before = daemons_pss(g.run_dir)
    for _ in range(count):
        g.ok("run", "-d", "box", "sleep", "1000000")
    each = (daemons_pss(g.run_dir) - before) / count
    what = "memory of an idle container beyond its own process"
    note = f"growth of the Pss of groundd, spawner and supervisors with {count} containers, each"
    return Row(what, Figure([each], "MB"), "ground run -d box sleep 1000000", goal=Goal(0.5), note=note)


def runtime_rows(*, rounds: int) -> list[Row]:
    """`ground-runtime run` cold and the resident launch, beside runc and crun."""
    with runtime_bench.bundle_of_true() as box, runtime_bench.works_of(box) as works:
        taken = runtime_bench.samples(works, rounds)
    found = {name: Figure(times) for name, times in taken.items()}
    peers = {name: figure for name, figure in found.items() if name in ("runc", "crun")}
    floors = {f"floor: `{name}`": found[name] for name in ("python", "python -I -S")}
    command = "ground-runtime run bench, runc run bench, python -c ''"
    note = "where the time goes: python -X importtime, perf record -g, strace -c -f"
    goal = Goal(1.5, of="runc")
    cold = Row("OCI runtime, `run` of `true`, cold", found["ground-runtime"], command, peers | floors, goal, note)
    floors = {"floor: six namespaces, execve": found["floor"]}
    command, note = "bench/launcher.py", "create and start from a small living process"
    goal = Goal(0.3, of="runc")
    return [cold, Row("OCI runtime, resident launch", found["launch"], command, peers | floors, goal, note)]
