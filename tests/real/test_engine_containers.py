"""Containers on the real kernel: from create to remove, streams, logs, exec, limits, and docker's words for errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine_parts import BusyboxImage
from tests.real.engine_rig import Rig, read_all, rig

from groundplane.engine.contract import (
    BadParameter,
    Conflicting,
    EngineError,
    ExecSpec,
    Mount,
    NoSuchContainer,
    NoSuchImage,
    Resources,
    Security,
    State,
)

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]


def test_a_container_runs_and_leaves_its_output_and_exit_code(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            events = r.containers.events()
            id = await r.create("sh", "-c", "echo out; echo err >&2; exit 3", labels={"a": "b"})
            assert r.containers.get(id).state is State.CREATED
            await r.containers.start(id)
            assert await r.containers.wait(id) == 3
            info = r.containers.get(id)
            assert (info.state, info.exit_code, info.oom_killed, info.pid) == (State.EXITED, 3, False, 0)
            assert info.created_at <= info.started_at <= info.finished_at
            lines = [line async for line in r.containers.logs(id)]
            assert sorted((line.stream, line.data) for line in lines) == [("stderr", b"err\n"), ("stdout", b"out\n")]
            await r.containers.remove(id)
            with pytest.raises(NoSuchContainer, match="No such container"):
                r.containers.get(id)
            seen = [await anext(events) for _ in range(4)]
            assert [(e.action, e.exit_code) for e in seen] == [
                ("create", None), ("start", None), ("die", 3), ("destroy", None),
            ]  # fmt: skip
            assert seen[0].labels == {"a": "b"}

    run(work())


def test_attached_before_the_start_nothing_is_missed(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "seq 20000; echo end >&2")
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            got = await read_all(streams)
            await streams.close()
            assert got[1] == b"".join(b"%d\n" % n for n in range(1, 20001))
            assert got[2] == b"end\n"
            assert (await r.output(id)).replace(b"end\n", b"") == got[1]

    run(work())


def test_standard_input_reaches_the_container_and_ends(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "wc -c", stdin_open=True)
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            data = b"x" * 300_000  # more than a pipe holds: it waits while the container does not read
            await streams.write(data)
            await streams.close_stdin()
            got = await read_all(streams)
            await streams.close()
            assert got[1].strip() == b"300000"
            assert await r.containers.wait(id) == 0

    run(work())


def test_a_terminal_echoes_resizes_and_ends(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", 'read x; stty size; echo "got $x"', tty=True, stdin_open=True)
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            await streams.resize(33, 101)
            await streams.write(b"word\n")
            got = await read_all(streams)
            await streams.close()
            assert got[1] == b"word\r\n33 101\r\ngot word\r\n"
            assert got[2] == b""

    run(work())


def test_a_slow_client_holds_the_container_back_and_loses_nothing(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x")
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            await asyncio.sleep(0.3)  # not read: buffers fill, and the container waits
            assert r.containers.get(id).state is State.RUNNING
            got = await read_all(streams)
            await streams.close()
            assert len(got[1]) == 3_000_000
            assert len(await r.output(id)) == 3_000_000

    run(work())


def test_exec_has_streams_of_its_own_and_an_exit_code(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sleep", "1000", env={"FROM": "container"})
            streams = await r.containers.exec(
                id, ExecSpec(["sh", "-c", "cat; echo $FROM $HERE >&2; exit 5"], env={"HERE": "exec"}, stdin=True)
            )
            await streams.write(b"in")
            await streams.close_stdin()
            assert await read_all(streams) == {1: b"in", 2: b"container exec\n"}
            assert await streams.wait() == 5
            await streams.close()
            streams = await r.containers.exec(
                id, ExecSpec(["sh", "-c", "read x; stty size; id -u"], tty=True, stdin=True)
            )
            await streams.resize(12, 34)
            await streams.write(b"\n")
            got = await read_all(streams)
            assert got[1].endswith(b"12 34\r\n0\r\n")
            await streams.close()
            streams = await r.containers.exec(id, ExecSpec(["id"], user="alice"))
            assert (await read_all(streams))[1].startswith(
                b"uid=1000(alice) gid=1000(alice) groups=29(audio),1000(alice)"
            )
            await streams.close()
            with pytest.raises(EngineError, match="executable file not found"):
                await r.containers.exec(id, ExecSpec(["nonesuch"]))
            streams = await r.containers.exec(id, ExecSpec(["sleep", "1000"]))
            await streams.kill()
            assert await streams.wait() == 137
            await streams.close()
            assert r.containers.get(id).state is State.RUNNING

    run(work())


async def trapping(r: Rig, action: str, signal: str, **options: Any) -> str:
    """A container that answers a signal so; returns once it would."""
    id = await r.start("sh", "-c", f'trap "{action}" {signal}; echo ready; while :; do sleep 0.02; done', **options)
    await anext(r.containers.logs(id, follow=True))
    return id


def test_stop_asks_then_kills(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            polite = await trapping(r, "exit 7", "TERM")
            await r.containers.stop(polite)
            assert r.containers.get(polite).exit_code == 7
            await r.containers.stop(polite)  # stopped already: success
            deaf = await trapping(r, "", "TERM")
            await r.containers.stop(deaf, 0.2)
            assert r.containers.get(deaf).exit_code == 137
            usr = await trapping(r, "exit 9", "USR1", stop_signal="USR1")
            await r.containers.stop(usr)
            assert r.containers.get(usr).exit_code == 9
            with pytest.raises(Conflicting, match="is not running"):
                await r.containers.kill(usr)
            with pytest.raises(BadParameter, match="Invalid signal: SIGNOPE"):
                await r.containers.kill(usr, "SIGNOPE")

    run(work())


def test_a_stopped_container_starts_again_with_its_files_and_log(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", "cat /tmp/x 2>&1; echo again > /tmp/x; echo end")
            await r.containers.wait(id)
            await r.containers.start(id)
            assert await r.containers.wait(id) == 0
            assert r.containers.get(id).restart_count == 1
            assert [line.data async for line in r.containers.logs(id)][1:] == [b"end\n", b"again\n", b"end\n"]
            assert [line.data async for line in r.containers.logs(id, tail=2)] == [b"again\n", b"end\n"]

    run(work())


def test_what_cannot_run_says_so_and_leaves_docker_s_codes(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            for command, code, words in (
                ("nonesuch", 127, r'exec: "nonesuch": executable file not found in \$PATH'),
                ("/etc", 126, "permission denied|is a directory"),
            ):
                id = await r.create(command)
                with pytest.raises(EngineError, match=words):
                    await r.containers.start(id)
                info = r.containers.get(id)
                assert (info.state, info.exit_code) == (State.EXITED, code)
                assert info.error
            id = await r.create("true", security=Security(user="bob"))
            with pytest.raises(EngineError, match="unable to find user bob: no matching entries in passwd file"):
                await r.containers.start(id)

    run(work())


def test_bad_requests_make_nothing(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("true", name="taken")
            refused: list[tuple[type[EngineError], str, dict[str, Any]]] = [
                (Conflicting, 'The container name "/taken" is already in use by container', {"name": "taken"}),
                (BadParameter, "Invalid container name", {"name": "no/slash"}),
                (BadParameter, "invalid capability", {"security": Security(cap_add=("FLY",))}),
                (BadParameter, "mount path must be absolute", {"mounts": [Mount("relative", "/tmp")]}),
                (BadParameter, "Invalid signal", {"stop_signal": "NOPE"}),
                (BadParameter, "invalid ulimit type", {"ulimits": {"wings": (1, 1)}}),
                (BadParameter, "gathering device information", {"devices": ["/dev/nonesuch"]}),
                (BadParameter, "opening seccomp profile failed", {"security": Security(seccomp="{")}),
            ]
            for kind, words, options in refused:
                with pytest.raises(kind, match=words):
                    await r.create("true", **options)
            with pytest.raises(NoSuchImage):
                await r.containers.create(type(r.containers.get(id).spec)(image="other"))
            assert [info.id for info in r.containers.list()] == [id]
            assert [path.name for path in (r.root / "containers").iterdir()] == [id]
        async with rig(BusyboxImage({"Cmd": None})) as r:
            with pytest.raises(BadParameter, match="no command specified"):
                await r.create()

    run(work())


def test_lookup_by_name_and_prefix(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("true", name="known")
            hidden = await r.create("true", hidden=True)
            assert {r.containers.get(t).id for t in (id, id[:7], "known", "/known")} == {id}
            assert [info.id for info in r.containers.list()] == [id]
            assert {info.id for info in r.containers.list(hidden=True)} == {id, hidden}

    run(work())


def test_limits_are_the_kernel_s_and_out_of_memory_is_told(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            eater = "x=x; while :; do x=$x$x; done"
            id = await r.start("sh", "-c", eater, resources=Resources(memory=16 << 20))
            assert await r.containers.wait(id) == 137
            assert r.containers.get(id).oom_killed
            id = await r.start("sleep", "1000", resources=Resources(pids=32))
            stats = r.containers.stats(id)
            assert stats["pids"] == 1 and stats["memory"] > 0
            await r.containers.update(id, Resources(memory=64 << 20))
            assert r.containers.stats(id)["memory_limit"] == 64 << 20
            assert r.containers.get(id).spec.resources.memory == 64 << 20

    run(work())


def test_what_a_container_sees_is_docker_s(run: Run, tmp_path: Path) -> None:
    async def work() -> None:
        async with rig() as r:
            script = "hostname; cat /etc/hostname; head -n 1 /etc/hosts; env; cat /proc/self/status; ls /mnt; id"
            script += "; ls /sys/class/net"
            (tmp_path / "file").write_text("")
            tmp_path.chmod(0o755)
            id = await r.start(
                "sh", "-c", script,
                env={"MINE": "1"}, mounts=[Mount("/mnt", str(tmp_path), read_only=True)],
                security=Security(user="1000:29", groups=(5,), no_new_privileges=True),
            )  # fmt: skip
            assert await r.containers.wait(id) == 0
            text = (await r.output(id)).decode()
            assert text.startswith(f"{id[:12]}\n{id[:12]}\n127.0.0.1\tlocalhost\n")
            for words in (
                "FROM=image\n", "MINE=1\n", f"HOSTNAME={id[:12]}\n", "HOME=/home/alice\n", "\nfile\n", "\nlo\n",
                "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2",
                "groups=5,29(audio)", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
            ):  # fmt: skip
                assert words in text, words

    run(work())


def test_dev_stdout_can_be_opened_by_a_user_who_is_not_root(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start(
                "sh", "-c", "echo again > /dev/stdout; echo bad > /dev/stderr", security=Security(user="alice")
            )
            assert await r.containers.wait(id) == 0
            assert sorted([line.data async for line in r.containers.logs(id)]) == [b"again\n", b"bad\n"]

    run(work())


def test_auto_remove_and_waiting_for_the_next_end(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "exit 4", auto_remove=True)
            waiter = asyncio.ensure_future(r.containers.wait(id, next_exit=True))
            await asyncio.sleep(0)
            await r.containers.start(id)
            assert await waiter == 4
            await r.eventually(lambda: not r.containers.list())

    run(work())


def test_logs_are_followed_until_the_end(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            script = "for i in 1 2 3; do echo line $i; read x; done; echo -n no end"
            id = await r.create("sh", "-c", script, stdin_open=True)
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            lines = []
            async for line in r.containers.logs(id, follow=True):
                lines.append(line.data)
                if len(lines) <= 3:  # each line has a time of its own: the next one is written after this one was read
                    await streams.write(b"\n")
            await streams.close()
            assert lines == [b"line 1\n", b"line 2\n", b"line 3\n", b"no end"]
            at = [line.at async for line in r.containers.logs(id)]
            assert [line.data async for line in r.containers.logs(id, since=at[2])] == [b"line 3\n", b"no end"]
            assert [line.data async for line in r.containers.logs(id, until=at[1])] == [b"line 1\n", b"line 2\n"]
            assert [line.data async for line in r.containers.logs(id, tail=0)] == []

    run(work())


def test_many_at_once(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:

            async def one(number: int) -> int:
                id = await r.start("sh", "-c", f"exit {number}")
                return await r.containers.wait(id)

            assert await asyncio.gather(*(one(n) for n in range(20))) == list(range(20))

    run(work())
