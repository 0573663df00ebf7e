"""Who else takes part: a seccomp agent that answers calls, and the hooks of a container's life."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.real.bundles import Box, Streams, reap

from groundplane.kernel.cgroups import registry
from groundplane.runtime.beside import exec_process
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.hooks import run_poststart
from groundplane.runtime.stages.favours import send_with_fd

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


# linux/seccomp.h: struct seccomp_notif { __u64 id; __u32 pid, flags; struct seccomp_data { int nr; __u32 arch;
# __u64 ip; __u64 args[6]; } }, struct seccomp_notif_resp { __u64 id; __s64 val; __s32 error; __u32 flags; }
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION = struct.Struct("=QII iI7Q")
_ANSWER = struct.Struct("=QqiI")


class Agent:
    """Takes one listener and answers every call with an errno."""

    def __init__(self, path: Path) -> None:
        self.states: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        data, descriptors = b"", array.array("i")
        with connection:
            while True:
                part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(16))
                for _, _, payload in ancillary:
                    descriptors.frombytes(payload)
                if not part:
                    break
                data += part
        self.states.append(json.loads(data))
        (descriptor,) = descriptors
        try:
            while True:
                request = fcntl.ioctl(descriptor, _RECEIVE, bytes(_NOTIFICATION.size))
                id, _, _, number, *_ = _NOTIFICATION.unpack(request)
                self.calls.append(number)
                fcntl.ioctl(descriptor, _SEND, _ANSWER.pack(id, 0, -errno.EDOM, 0))
        except OSError:  # ENOENT: who asked has ended
            pass
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(60)


def notifying(box: Box, path: Path, *names: str) -> None:
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
    }


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_agent_answers_calls(box: Box, no_new_privileges: bool) -> None:
    """config-linux.md, "Seccomp" and "The Container Process State"."""
    path = box.directory / "agent"
    notifying(box, path, "mkdir", "mkdirat")
    box.process["noNewPrivileges"] = no_new_privileges
    box.config["annotations"] = {"a": "b"}
    box.config["root"]["readonly"] = False
    agent = Agent(path)
    try:
        box.process["args"] = ["sh", "-c", "busybox mkdir /new; test -e /new || echo none"]
        with Streams() as streams:
            created = box.create(streams.child)
            created.start()
            out = streams.read()
            reap(created)
        box.delete()
    finally:
        agent.close()
    assert "argument out of domain" in out.lower()
    assert "none" in out
    assert len(agent.calls) == 1
    state = {
        "ociVersion": "1.2.0",
        "id": box.id,
        "status": "creating",
        "pid": created.pid,
        "bundle": str(box.directory),
    }
    assert agent.states == [
        {
            "ociVersion": "1.2.0",
            "fds": ["seccompFd"],
            "pid": created.pid,
            "metadata": "for the agent",
            "state": {**state, "annotations": {"a": "b"}},
        }
    ]


def test_an_agent_for_a_process_beside_init(box: Box) -> None:
    path = box.directory / "agent"
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    notifying(box, path, "mkdir", "mkdirat")
    agent = Agent(path)
    try:
        with Streams() as streams:
            state = {"id": box.id, "status": "running", "bundle": str(box.directory), "annotations": {}}
            process = {**box.process, "args": ["busybox", "mkdir", "/x"]}
            profile = box.linux["seccomp"]
            beside = exec_process(
                created.pid, process, stdio=streams.child, cgroup=box.cgroup, seccomp=profile, state=state
            )
            beside.start()
            assert "argument out of domain" in streams.read().lower()
            reap(beside)
    finally:
        os.kill(created.pid, 9)
        reap(created)
        agent.close()
        box.delete()
    (told,) = agent.states
    assert (told["pid"], told["state"]["pid"], told["state"]["status"]) == (beside.pid, beside.pid, "running")


def test_an_agent_that_is_not_there_is_an_error(box: Box) -> None:
    notifying(box, box.directory / "nobody", "mkdir")
    with pytest.raises(
        LaunchError, match=r"failed to connect with seccomp agent .*: dial unix .*/nobody: connect: no su"
    ):
        box.create()


def test_an_agent_that_has_read_everything_may_go_at_once() -> None:
    ours, theirs = socket.socketpair()

    class Hasty(socket.socket):
        def sendmsg(self, *arguments: Any) -> int:
            sent: int = super().sendmsg(*arguments)
            theirs.close()
            return sent

    with theirs, Hasty(fileno=ours.detach()) as endpoint:
        send_with_fd(endpoint, b"{}", 0)


def test_a_listener_nobody_asks_for_is_passed_over(box: Box) -> None:
    """config-linux.md: without SCMP_ACT_NOTIFY the path is ignored."""
    notifying(box, box.directory / "nobody")
    box.linux["seccomp"]["syscalls"] = []
    assert box.run("true").code == 0


ACTIONS = [
    ("SCMP_ACT_KILL_PROCESS", -31, ""),
    ("SCMP_ACT_KILL", -31, ""),
    ("SCMP_ACT_KILL_THREAD", -31, ""),
    ("SCMP_ACT_TRAP", -31, ""),
    ("SCMP_ACT_ERRNO", 1, "Operation not permitted"),
    ("SCMP_ACT_TRACE", 1, "Function not implemented"),
    ("SCMP_ACT_LOG", 0, ""),
    ("SCMP_ACT_ALLOW", 0, ""),
]


@pytest.mark.parametrize(("action", "code", "says"), ACTIONS)
def test_every_action(box: Box, action: str, code: int, says: str) -> None:
    """31 is SIGSYS; a traced call without a tracer is ENOSYS (seccomp(2))."""
    rule = {"names": ["mkdir", "mkdirat"], "action": action}
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_LOG", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [rule]}
    box.config["root"]["readonly"] = False
    result = box.run("busybox", "mkdir", "/new")
    assert (result.code, says in result.out) == (code, True)


# Hooks.


def hook(box: Box, name: str, script: str) -> dict[str, Any]:
    path = box.directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"path": str(path)}


def test_where_each_hook_runs(box: Box) -> None:
    """config.md, "POSIX-platform Hooks": the summary's table of namespaces, and runc's directories."""
    log = box.directory / "log"
    log.touch()
    script = f"cat > /dev/null; echo $0 $(pwd) $(readlink /proc/self/ns/mnt) >> {log}"
    for kind in ("prestart", "createRuntime", "createContainer", "poststop"):
        box.config["hooks"] = {**box.config.get("hooks", {}), kind: [hook(box, kind, script)]}
    box.write("/bin/note", "#!/bin/sh\necho startContainer $(pwd) $(readlink /proc/self/ns/mnt) >> /log\n")
    box.config["hooks"]["startContainer"] = [{"path": "/bin/note"}]
    box.mount("/log", "bind", str(log), "bind")
    box.process["cwd"] = "/bin"
    inside = box.run("readlink", "/proc/self/ns/mnt").out.strip()
    host = os.readlink("/proc/self/ns/mnt")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [(name.rpartition("/")[2], place) for name, place, _ in lines] == [
        ("prestart", str(box.directory)),
        ("createRuntime", str(box.directory)),
        ("createContainer", str(box.root)),
        ("startContainer", "/"),
        ("poststop", str(box.directory)),
    ]
    assert [namespace == inside for _, _, namespace in lines] == [False, False, True, True, False]
    assert [namespace == host for _, _, namespace in lines] == [True, True, False, False, True]


def test_hooks_without_an_environment(box: Box) -> None:
    """Outside they have the runtime's, inside the container's: the host's is none of the container's business."""
    log = box.directory / "log"
    log.touch()
    os.environ["GROUND_TEST_SECRET"] = "host"
    box.process["env"].append("MINE=container")
    script = f"cat > /dev/null; echo $GROUND_TEST_SECRET,$MINE >> {log}"
    box.write("/bin/note", "#!/bin/sh\necho $GROUND_TEST_SECRET,$MINE >> /log\n")
    box.mount("/log", "bind", str(log), "bind")
    box.config["hooks"] = {
        "createRuntime": [hook(box, "outside", script)],
        "createContainer": [hook(box, "between", script)],
        "startContainer": [{"path": "/bin/note"}],
    }
    try:
        assert box.run("true").code == 0
    finally:
        del os.environ["GROUND_TEST_SECRET"]
    assert log.read_text().splitlines() == ["host,", ",container", ",container"]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_of_the_creation_ends_it_and_poststop_hooks_run(box: Box, kind: str) -> None:
    """runtime.md, "Lifecycle", 3 to 5: an error, the container is stopped, and it goes on with steps 12 and 13."""
    mark, second = box.directory / "mark", box.directory / "second"
    box.config["hooks"] = {
        kind: [hook(box, "fails", "cat > /dev/null; echo why >&2; exit 3"), hook(box, "next", f"touch {second}")],
        "poststop": [hook(box, "after", f"cat > {mark}")],
    }
    with pytest.raises(LaunchError, match=f"error running {kind} hook #0: exit status 3, output: why"):
        box.create()
    state = json.loads(mark.read_text())
    assert (state["id"], state["status"], "pid" in state) == (box.id, "stopped", False)
    assert not second.exists()
    assert not registry.detect().exists(box.cgroup)


def test_hooks_that_hang_are_ended_with_all_they_started(box: Box) -> None:
    pids = box.directory / "pids"
    script = f"sleep 100 & echo $! > {pids}; wait"
    box.config["hooks"] = {"createRuntime": [{**hook(box, "hangs", script), "timeout": 1}]}
    with pytest.raises(LaunchError, match=r"hook ran past specified timeout of 1\.0s"):
        box.create()
    assert not os.path.exists(f"/proc/{pids.read_text().strip()}/exe")


def test_hook_states_on_standard_input(box: Box) -> None:
    """The pid as the host sees it for the runtime's hooks (runtime.md, "State"), its own for those inside."""
    seen = box.directory / "seen"
    seen.mkdir()
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        box.config["hooks"] = {**box.config.get("hooks", {}), kind: [hook(box, kind, f"cat > {seen}/{kind}")]}
    box.write("/bin/note", "#!/bin/sh\ncat > /seen/startContainer\n")
    box.config["hooks"]["startContainer"] = [{"path": "/bin/note"}]
    box.mount("/seen", "bind", str(seen), "bind")
    box.process["args"] = ["sleep", "60"]
    created = box.create()
    created.start()
    run_poststart(box.config, bundle=str(box.directory), id=box.id, pid=created.pid)
    os.kill(created.pid, 9)
    reap(created)
    box.delete()
    states = {path.name: json.loads(path.read_text()) for path in seen.iterdir()}
    assert {kind: (state["status"], state.get("pid")) for kind, state in states.items()} == {
        "prestart": ("creating", created.pid),
        "createRuntime": ("creating", created.pid),
        "createContainer": ("creating", 1),
        "startContainer": ("created", 1),
        "poststart": ("running", created.pid),
        "poststop": ("stopped", None),
    }
    assert all(state["bundle"] == str(box.directory) and state["id"] == box.id for state in states.values())
