"""kill -9 of engine, spawner and supervisor, alone and together: no container, log byte or exit code is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.real import leaks
from tests.real.engine_rig import Rig, read_all, rig

from groundplane.engine.contract import ExecSpec, SandboxSpec, State
from groundplane.kernel.processes import start_ticks

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]

VICTIMS = ("engine", "spawner", "supervisor")
COMBINATIONS = [c for n in (1, 2, 3) for c in itertools.combinations(VICTIMS, n)]


async def kill(r: Rig, id: str, victims: tuple[str, ...]) -> None:
    """All of them at one moment, as far as one can, and the engine's next start."""
    pids = {"spawner": await r.spawner(), "supervisor": await r.supervisor(id)}
    for victim in victims:
        if victim != "engine":
            os.kill(pids[victim], signal.SIGKILL)
    if "engine" in victims:
        await r.engine_dies()
        await r.engine_starts()


# On both streams until USR1, not so fast that the log is soon full and its oldest part thrown away.
_COUNTS_UP = (
    'trap "over=1" USR1; n=0; until [ $over ]; do'
    " seq $n $((n+999)); seq $n $((n+999)) >&2; n=$((n+1000)); sleep 0.01; done; echo end"
)


def alive(pid: int, ticks: int) -> bool:
    return start_ticks(pid) == ticks


@pytest.mark.parametrize("victims", COMBINATIONS, ids="+".join)
def test_a_running_container_is_undisturbed_and_its_end_is_known(run: Run, victims: tuple[str, ...]) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", 'trap "exit 9" USR1; echo ready; while :; do sleep 0.02; done')
            pid = r.containers.get(id).pid
            ticks = start_ticks(pid)
            await r.catches(pid, signal.SIGUSR1)
            await r.eventually(lambda: leaks.files(r.run) != [])
            await kill(r, id, victims)
            await r.eventually(lambda: r.containers.get(id).state is State.RUNNING)
            assert alive(pid, ticks) and r.containers.get(id).pid == pid
            streams = await exec_when_ready(r, id, "echo", "in")
            assert (await read_all(streams))[1] == b"in\n"
            await streams.close()
            await r.containers.kill(id, "USR1")
            assert await r.containers.wait(id) == 9
            assert await r.output(id) == b"ready\n"

    run(work())


async def exec_when_ready(r: Rig, id: str, *argv: str) -> Any:
    return await r.containers.exec(id, ExecSpec(argv))


@pytest.mark.parametrize("victims", COMBINATIONS, ids="+".join)
def test_an_end_in_the_moment_of_the_kill_is_not_lost(run: Run, victims: tuple[str, ...]) -> None:
    """The container ends while those who watch it are dead. Both parents dead: PIDFD_GET_INFO, or unknown."""

    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", 'trap "echo bye; exit 9" USR1; echo ready; while :; do sleep 0.02; done')
            pid = r.containers.get(id).pid
            await r.catches(pid, signal.SIGUSR1)
            pids = {"spawner": await r.spawner(), "supervisor": await r.supervisor(id)}
            if "engine" in victims:
                await r.engine_dies()
            for victim in victims:
                if victim != "engine":
                    os.kill(pids[victim], signal.SIGKILL)
            os.kill(pid, signal.SIGUSR1)
            if "engine" in victims:
                await r.engine_starts()
            code = await r.containers.wait(id)
            if {"engine", "spawner", "supervisor"} == set(victims):
                assert code in (9, -1)  # nobody is left who held its pidfd
            else:
                assert code == 9
            if {"spawner", "supervisor"} - set(victims):
                assert await r.output(id) == b"ready\nbye\n"

    run(work())


def test_a_log_is_complete_however_often_its_supervisor_is_killed(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", _COUNTS_UP)
            pid, former = r.containers.get(id).pid, 0
            await r.catches(pid, signal.SIGUSR1)
            for _ in range(6):
                await r.eventually(lambda former=former: _supervisor(r, id) not in (0, former))  # type: ignore[misc]
                await asyncio.sleep(0.03)  # some of the output, whatever there is
                former = await r.supervisor(id)
                os.kill(former, signal.SIGKILL)
            os.kill(pid, signal.SIGUSR1)
            assert await r.containers.wait(id) == 0
            lines = [line async for line in r.containers.logs(id)]
            out = b"".join(line.data for line in lines if line.stream == "stdout")
            err = b"".join(line.data for line in lines if line.stream == "stderr")
            assert out.endswith(b"999\nend\n")
            for seen in (out.removesuffix(b"end\n"), err):  # of a long log the oldest lines are gone
                first, last = int(seen.split(b"\n", 1)[0]), int(seen.split(b"\n")[-2])
                assert seen == b"".join(b"%d\n" % n for n in range(first, last + 1)) and last >= 999
            assert last == int(out.split(b"\n")[-3])

    run(work())


@pytest.mark.parametrize("victim", ["supervisor", "spawner"])
def test_a_terminal_outlives_its_supervisor(run: Run, victim: str) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", "while read x; do echo got $x; done", tty=True, stdin_open=True)
            former = await r.supervisor(id)
            os.kill(former if victim == "supervisor" else await r.spawner(), signal.SIGKILL)
            if victim == "supervisor":
                await r.eventually(lambda: _supervisor(r, id) not in (0, former))
            streams = await r.containers.attach(id)
            await streams.write(b"one\n")
            got = b""
            while b"got one" not in got:
                chunk = await streams.read()
                assert chunk is not None
                got += chunk[1]
            await streams.close()
            assert r.containers.get(id).state is State.RUNNING

    run(work())


def _supervisor(r: Rig, id: str) -> int:
    found = r.supervisors(id)
    return found[0] if len(found) == 1 else 0


def test_open_standard_input_outlives_its_supervisor(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("cat", stdin_open=True)
            former = await r.supervisor(id)
            os.kill(former, signal.SIGKILL)
            await r.eventually(lambda: _supervisor(r, id) not in (0, former))
            streams = await r.containers.attach(id)
            await streams.write(b"late\n")
            assert await streams.read() == (1, b"late\n")
            await streams.close_stdin()
            assert await streams.read() is None
            await streams.close()
            assert await r.containers.wait(id) == 0

    run(work())


def test_an_attached_client_stays_attached(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "while read x; do echo got $x; done", stdin_open=True)
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            await streams.write(b"one\n")
            assert await streams.read() == (1, b"got one\n")
            former = await r.supervisor(id)
            os.kill(former, signal.SIGKILL)
            await r.eventually(lambda: _supervisor(r, id) not in (0, former))
            await r.eventually(lambda: streams.connection is not None and not streams.connection.closed)
            await streams.write(b"two\n")
            assert await streams.read() == (1, b"got two\n")
            await streams.close_stdin()
            assert await streams.read() is None
            await streams.close()

    run(work())


def test_an_exec_s_end_is_known_though_its_agent_was_killed(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sleep", "1000")
            streams = await r.containers.exec(id, ExecSpec(["sh", "-c", "read x; exit 6"], stdin=True))
            (agent,) = [int(p.split(" ")[0]) for p in leaks.processes([r.run]) if p.split(" ")[1] == "ground-exec"]
            os.kill(agent, signal.SIGKILL)
            await streams.close_stdin()
            assert await streams.wait() in (6, 1, -1)
            await streams.close()

    run(work())


@pytest.mark.parametrize("moment", range(0, 24, 4))
def test_a_spawner_killed_during_starts_leaves_nothing_half(run: Run, moment: int) -> None:
    async def work() -> None:
        async with rig() as r:

            async def one() -> int:
                id = await r.start("sh", "-c", "exit 3")
                return await r.containers.wait(id)

            starts = [asyncio.ensure_future(one()) for _ in range(4)]
            spawner = await r.spawner()
            await asyncio.sleep(moment / 1000)
            os.kill(spawner, signal.SIGKILL)
            results = await asyncio.gather(*starts, return_exceptions=True)
            assert all(result == 3 for result in results), results

    run(work())


def test_a_spawner_that_dies_before_it_serves_is_replaced(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            marker = r.run / "died-once"
            dies_once = 'if mkdir "$0" 2>/dev/null; then kill -9 $$; fi; exec "$@"'
            r.link._argv[:0] = ["/bin/sh", "-c", dies_once, str(marker)]
            os.kill(await r.spawner(), signal.SIGKILL)
            id = await r.start("sh", "-c", "exit 3")
            assert await r.containers.wait(id) == 3
            assert marker.exists()
            marker.rmdir()

    run(work())


def test_of_two_spawners_the_slower_one_is_not_left_behind(run: Run) -> None:
    """It would take over when the other one is told to end, and nobody would end it."""

    async def work() -> None:
        async with rig() as r:
            argv = list(r.link._argv)
            never = 'until [ -e "$0" ]; do sleep 0.01; done; exec "$@"'
            r.link._argv[:0] = ["/bin/sh", "-c", never, str(r.run / "nothing")]
            os.kill(await r.spawner(), signal.SIGKILL)
            await r.eventually(lambda: len(r.link._children) == 1 and r.link._serving == 0)
            (slow,) = r.link._children
            quick = os.posix_spawn(argv[0], argv, os.environ, setsid=True)  # noqa: ASYNC221 because it does not wait
            await r.eventually(lambda: r.link._serving == quick and not r.link._children)
            assert start_ticks(slow) == 0

    run(work())


def test_a_killed_zygote_is_replaced(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            before = await r.start("sleep", "1000")
            os.kill(await r.zygote(), signal.SIGKILL)
            after = await r.start("sh", "-c", "exit 3")
            assert await r.containers.wait(after) == 3
            os.kill(await r.supervisor(before), signal.SIGKILL)
            await r.containers.kill(before, "TERM")
            await r.containers.kill(before)
            assert await r.containers.wait(before) == 137

    run(work())


@pytest.mark.parametrize("moment", range(0, 24, 4))
def test_a_supervisor_killed_during_starts_is_made_up_for(run: Run, moment: int) -> None:
    async def work() -> None:
        async with rig() as r:

            async def one() -> int:
                id = await r.start("sh", "-c", "sleep 0.1; exit 3")
                return await r.containers.wait(id)

            await r.eventually(lambda: len(r.all_supervisors()) == 1)
            zygote = await r.zygote()
            starts = [asyncio.ensure_future(one()) for _ in range(4)]
            await asyncio.sleep(moment / 1000)
            for pid in r.all_supervisors():
                if pid != zygote:
                    with suppress(ProcessLookupError):  # a launcher that has done its work
                        os.kill(pid, signal.SIGKILL)
            results = await asyncio.gather(*starts, return_exceptions=True)
            assert all(result == 3 for result in results), results

    run(work())


def test_what_ended_while_no_engine_ran_is_found(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            ends = 'trap "echo late; exit 5" USR1; while :; do sleep 0.02; done'
            id = await r.start("sh", "-c", ends)
            gone = await r.start("sh", "-c", ends, auto_remove=True)
            pids = [r.containers.get(each).pid for each in (id, gone)]
            for pid in pids:
                await r.catches(pid, signal.SIGUSR1)
            await r.engine_dies()
            for pid in pids:
                os.kill(pid, signal.SIGUSR1)
            await r.eventually(lambda: (r.root / "containers" / id / "exit").exists())
            await r.eventually(lambda: (r.root / "containers" / gone / "exit").exists())
            await r.engine_starts()
            assert await r.containers.wait(id) == 5
            assert await r.output(id) == b"late\n"
            await r.eventually(lambda: [info.id for info in r.containers.list()] == [id])

    run(work())


def test_after_a_power_failure_the_end_is_unknown_and_a_start_works(run: Run) -> None:
    """Every process of the instance and of the container is gone at once; files in the run directory may be left."""

    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", "echo before; sleep 1000")
            await r.eventually(lambda: (r.root / "containers" / id / "log").stat().st_size > 0)
            await r.engine_dies()
            victims = [int(line.split(" ")[0]) for line in leaks.processes([r.run])]
            for pid in (*victims, r.containers.get(id).pid):
                os.kill(pid, signal.SIGKILL)
            await r.eventually(lambda: not leaks.processes([r.run]))
            await r.engine_starts()
            await r.eventually(lambda: r.containers.get(id).state is State.EXITED)
            assert r.containers.get(id).exit_code in (None, 137)
            assert await r.containers.wait(id) in (-1, 137)
            await r.containers.start(id)
            await r.eventually(lambda: (r.root / "containers" / id / "log").stat().st_size > 80)
            assert await r.output(id) == b"before\nbefore\n"

    run(work())


def test_half_made_and_half_removed_containers_are_swept(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            kept = await r.start("sleep", "1000")
            half = r.root / "containers" / ("a" * 64)
            half.mkdir()
            (half / ".container.json.new").write_text('{"vers')
            (r.root / "containers" / ("." + "b" * 64)).mkdir()
            (r.run / "c" / ("c" * 12)).mkdir()
            await r.engine_dies()
            await r.engine_starts()
            assert [info.id for info in r.containers.list()] == [kept]
            assert r.containers.get(kept).state is State.RUNNING
            assert [path.name for path in (r.root / "containers").iterdir()] == [kept]
            assert [path.name for path in (r.run / "c").iterdir()] == [kept[:12]]

    run(work())


def test_a_sandbox_is_shared_survives_and_goes(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            spec = SandboxSpec(
                "pod", hostname="web-0", network="none", share_pid=True, sysctls={"kernel.shm_rmid_forced": "1"},
                cgroup_parent="pods/poda",
            )  # fmt: skip
            sandbox = await r.sandboxes.create(spec)
            mode = f"sandbox:{sandbox.id}"
            options = {
                "network": mode,
                "ipc_mode": mode,
                "pid_mode": mode,
                "cgroup_parent": "pods/poda",
                "hidden": True,
            }
            first = await r.start("sh", "-c", "echo shared > /dev/shm/x; sleep 1000", **options)
            await r.engine_dies()
            await r.engine_starts()
            assert [s.id for s in r.sandboxes.list()] == [sandbox.id]
            second = await r.start(
                "sh",
                "-c",
                "hostname; cat /proc/sys/kernel/shm_rmid_forced; cat /dev/shm/x; cat /sys/class/net/lo/carrier; ps",
                **options,
            )
            assert await r.containers.wait(second) == 0
            lines = (await r.output(second)).decode().splitlines()
            assert lines[:4] == ["web-0", "1", "shared", "1"]
            assert any("sleep 1000" in line for line in lines)
            netns = os.stat(sandbox.netns).st_ino
            assert os.stat(f"/proc/{r.containers.get(first).pid}/ns/net").st_ino == netns
            for id in (first, second):
                await r.containers.remove(id, force=True)
            await r.sandboxes.remove(sandbox.id)
            await r.sandboxes.remove(sandbox.id)
            assert leaks.mounts([r.run]) == []

    run(work())
