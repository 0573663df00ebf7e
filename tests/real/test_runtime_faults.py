"""What goes wrong: each failure is one sentence with the right code, and nothing of the container is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from tests.real.bundles import Box, Streams, reap

from groundplane.kernel.cgroups import registry
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


def args(*words: str) -> Callable[[Box], None]:
    def change(box: Box) -> None:
        box.process["args"] = list(words)

    return change


def broken_link(box: Box) -> None:
    box.process["args"] = ["/bin/dangling"]
    (box.root / "bin/dangling").symlink_to("/nowhere")


def not_executable(box: Box) -> None:
    box.write("/bin/text", "text", 0o644)
    box.process["args"] = ["text"]


def garbage(box: Box) -> None:
    box.write("/bin/garbage", "\x01\x02", 0o755)
    box.process["args"] = ["garbage"]


def no_interpreter(box: Box) -> None:
    box.write("/bin/script", "#!/no/such\n", 0o755)
    box.process["args"] = ["script"]


PROGRAMS: list[tuple[Callable[[Box], None], int, str]] = [
    (args("nosuch"), 127, 'exec: "nosuch": executable file not found in $PATH'),
    (args("/no/such"), 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
    (args("/bin"), 126, 'exec: "/bin": is a directory'),
    (broken_link, 127, 'exec: "/bin/dangling": stat /bin/dangling: no such file or directory'),
    (not_executable, 126, 'exec: "text": permission denied'),
    (garbage, 126, "exec /bin/garbage: exec format error"),
    (no_interpreter, 127, "exec /bin/script: no such file or directory"),
]


@pytest.mark.parametrize(("change", "code", "sentence"), PROGRAMS)
def test_a_program_that_cannot_be_executed(box: Box, change: Callable[[Box], None], code: int, sentence: str) -> None:
    change(box)
    with pytest.raises(LaunchError) as caught:
        box.run()
    assert str(caught.value) == f"unable to start container process: {sentence}"
    assert caught.value.exit_code == code
    box.delete()


def unmounted_source(box: Box) -> None:
    box.mount("/x", "bind", "/no/such", "bind")


def unknown_filesystem(box: Box) -> None:
    box.mount("/x", "nofs", "nofs")


def bad_option(box: Box) -> None:
    box.mount("/x", "tmpfs", "tmpfs", "size=lots")


def proc_on_a_link(box: Box) -> None:
    (box.root / "proc").symlink_to("/bin")


def raised_limit(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]


def tiny_memory(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 4096}


def unknown_sysctl(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.nosuch": "1"}


def bad_directory(box: Box) -> None:
    box.process["cwd"] = "/bin/busybox"


def failing_hook(kind: str) -> Callable[[Box], None]:
    def change(box: Box) -> None:
        path = "/bin/false" if kind != "startContainer" else "/bin/nosuch"
        box.config["hooks"] = {kind: [{"path": path}]}

    return change


def slow_hook(box: Box) -> None:
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}


SETUPS: list[tuple[Callable[[Box], None], str]] = [
    (unmounted_source, 'error mounting "/no/such" to rootfs at "/x": stat /no/such: no such file or directory'),
    (unknown_filesystem, 'error mounting "nofs" to rootfs at "/x": fsopen nofs: no such device'),
    (bad_option, "Bad value for 'size'"),
    (proc_on_a_link, 'filesystem "proc" must be mounted on ordinary directory'),
    (raised_limit, "error setting rlimits for ready process: prlimit64 RLIMIT_NOFILE"),
    (tiny_memory, "container init was OOM-killed"),
    (unknown_sysctl, "sysctl net.ipv4.nosuch: no such file or directory"),
    (bad_directory, "not a directory"),
    (failing_hook("prestart"), "error running prestart hook #0: exit status 1"),
    (failing_hook("createRuntime"), "error running createRuntime hook #0: exit status 1"),
    (failing_hook("createContainer"), "error running createContainer hook #0: exit status 1"),
    (slow_hook, "hook ran past specified timeout of 1.0s"),
]


@pytest.mark.parametrize(("change", "sentence"), SETUPS)
def test_a_container_that_cannot_be_set_up(box: Box, change: Callable[[Box], None], sentence: str) -> None:
    change(box)
    with pytest.raises(LaunchError) as caught:
        box.create()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_failing_start_hook_ends_the_container(box: Box) -> None:
    failing_hook("startContainer")(box)
    created = box.create()
    with pytest.raises(LaunchError, match="startContainer hook #0"):
        created.start()
    box.delete()


def test_a_container_that_is_not_wanted_is_ended(box: Box) -> None:
    created = box.create()
    created.abort()
    assert not os.path.exists(f"/proc/{created.pid}/exe")
    box.delete()


def test_init_ends_by_itself_when_its_caller_is_gone(box: Box) -> None:
    read, write = os.pipe()
    caller = os.fork()
    if caller == 0:
        created = box.create()
        os.write(write, str(created.pid).encode())
        os._exit(0)
    os.waitpid(caller, 0)
    pid = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    else:
        import select

        assert select.select([pidfd], [], [], 10)[0], "it must have ended"
        os.close(pidfd)
    box.delete()


def test_another_containers_cgroup_is_not_taken(box: Box) -> None:
    created = box.create()
    with pytest.raises(LaunchError, match="cgroup is not empty"):
        box.create()
    assert registry.detect().processes(box.cgroup) == [created.pid], "and the first is undisturbed"
    created.abort()
    box.delete()


def test_hooks_run_in_their_order_with_their_state(box: Box) -> None:
    log = box.directory / "log"
    box.write("/bin/note", "#!/bin/sh\nread s; echo $1 $s >> /log\n")
    outside = box.directory / "note"
    outside.write_text(f"#!/bin/sh\nread s; echo $1 $s >> {log}\n")
    outside.chmod(0o755)
    kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    box.config["annotations"] = {"a": "b"}
    box.config["hooks"] = {
        kind: [{"path": str(outside), "args": ["note", kind], "env": ["PATH=/bin"]}] for kind in kinds
    }
    box.config["hooks"]["startContainer"] = [{"path": "/bin/note", "args": ["note", "startContainer"]}]
    log.touch()
    box.mount("/log", "bind", str(log), "bind")
    assert box.run("true").code == 0
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststop",
    ]
    states = [json.loads(line.partition(" ")[2]) for line in lines]
    assert {(state["id"], state["annotations"]["a"]) for state in states} == {(box.id, "b")}
    assert [state["status"] for state in states] == ["creating", "creating", "creating", "created", "stopped"]
    assert states[2]["pid"] == 1, "as the container counts"


def test_failing_poststop_hooks_are_told_and_the_others_run(box: Box) -> None:
    mark = box.directory / "mark"
    box.config["hooks"] = {"poststop": [{"path": "/bin/false"}, {"path": "/bin/touch", "args": ["touch", str(mark)]}]}
    with Streams() as streams:
        created = box.create(streams.child)
        created.abort()
        streams.read()
    assert len(box.delete()) == 1
    assert mark.exists()


def test_a_killed_container_leaves_nothing_behind(box: Box) -> None:
    box.process["args"] = ["sh", "-c", "sleep 100 & sleep 100 & busybox setsid sleep 100 & wait"]
    created = box.create()
    created.start()
    os.kill(created.pid, 9)
    assert reap(created) == -9
    box.delete()


def test_launches_leave_no_descriptor_behind(box: Box) -> None:
    def one() -> None:
        created = box.create()
        created.start()
        reap(created)
        box.delete()
        box.process["args"] = ["nosuch"]
        with pytest.raises(LaunchError):
            box.create()
        box.process["args"] = ["true"]

    box.process["args"] = ["true"]
    one()
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        one()
    assert os.listdir("/proc/self/fd") == before
