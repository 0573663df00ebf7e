"""Agents: processes forked from the spawner for one task that must not hold it up: an exec, or pinned namespaces.

An agent speaks with the engine over its own control socket and ends with its task. If it is killed, only its task is
lost: the exec's process goes on, and the engine learns its exit code through the pidfd where the kernel can tell.
"""

from __future__ import annotations

import json
import os
import signal
import time

from groundplane.kernel import pause
from groundplane.kernel.calls import mount, process
from groundplane.kernel.calls.files import write_text
from groundplane.kernel.calls.ids import setgroups, sethostname, setresgid, setresuid
from groundplane.kernel.calls.network import loopback_up
from groundplane.kernel.errors import KernelError
from groundplane.kernel.processes import exit_code, start_ticks
from groundplane.runtime.beside import exec_process
from groundplane.runtime.created import Created
from groundplane.runtime.failures import LaunchError
from groundplane.runtime.resident.channel import Channel
from groundplane.runtime.resident.launcher import write_file
from groundplane.runtime.steps.namespaces import sysctl_path
from groundplane.runtime.validate import BadConfig, check_sysctl
from groundplane.wire.spawner import Exec, Exited, Failed, Message, Pin, Pinned, Started

_NAMESPACES = {
    "net": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "pid": process.CLONE_NEWPID,
}

_PAUSE_USER = 65535


def run_exec(order: Exec, control: Channel, document: int, stdio: list[int], *, seccomp_cache: str) -> None:
    """Start a process beside a container's init, wait for it, and tell the engine its exit code."""
    try:
        created = _create_exec(order, document, stdio, seccomp_cache)
        for fd in stdio:
            os.close(fd)
        ticks = start_ticks(created.pid)
        created.start()
    except (LaunchError, KernelError, OSError, ValueError) as error:
        code = error.exit_code if isinstance(error, LaunchError) else 126
        control.send(Failed(code, str(error)))
        return
    control.send(
        Started(created.pid, ticks, time.time_ns(), list(created.warnings)),
        [created.console_fd] if created.console_fd >= 0 else [],
    )
    if created.console_fd >= 0:
        os.close(created.console_fd)  # the engine has it now: were it kept here, a hang-up would never be seen
    os.close(created.pidfd)
    _, status = os.waitpid(created.pid, 0)
    control.send(Exited(exit_code(status), False, 0))


def _create_exec(order: Exec, document: int, stdio: list[int], seccomp_cache: str) -> Created:
    if start_ticks(order.pid) != order.ticks:
        raise LaunchError(f"Container {order.id} is not running")
    os.lseek(document, 0, os.SEEK_SET)
    with os.fdopen(document, "rb") as f:
        wanted = json.load(f)
    given = dict(zip(order.stdio, stdio, strict=True))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        return exec_process(
            order.pid,
            wanted["process"],
            stdio=(given.get("0", null), given.get("1", null), given.get("2", null)),
            cgroup=order.cgroup,
            console=order.terminal,
            seccomp=wanted.get("seccomp"),
            seccomp_cache=seccomp_cache,
        )
    finally:
        os.close(null)


def run_pin(order: Pin, control: Channel) -> None:
    """Make namespaces and bind them to files, where they stay until these are unmounted (namespaces(7))."""
    control.send(_pin(order))


def _pin(order: Pin) -> Message:
    made: list[str] = []
    holder = 0
    try:
        sysctls = [sysctl.partition("=")[::2] for sysctl in order.sysctls]
        for name, _ in sysctls:  # whoever may make a pod chose them, and here they are written as root
            check_sysctl(name, ["network" if kind == "net" else kind for kind in order.namespaces])
        flags = 0
        for name in order.namespaces:
            flags |= _NAMESPACES[name]
        process.unshare(flags)
        if "net" in order.namespaces:
            loopback_up()
        if order.hostname and "uts" in order.namespaces:
            sethostname(order.hostname)
        for name, value in sysctls:
            write_text(f"/proc/sys/{sysctl_path(name)}", value)
        if "pid" in order.namespaces:
            holder = _hold_pid_namespace()
            # By us, because the engine may be killed before it hears of it, and then finds it here.
            write_file(f"{order.directory}/holder", b"%d %d" % (holder, start_ticks(holder)))
        for name in order.namespaces:
            path = f"{order.directory}/{name}"
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
            made.append(path)
            source = f"/proc/{holder}/ns/pid" if name == "pid" else f"/proc/self/ns/{name}"
            mount.mount(source, path, "", mount.MS_BIND)
    except (BadConfig, KernelError, OSError, KeyError) as error:
        _undo(made, holder)
        return Failed(1, f"namespaces of {order.directory}: {error}")
    return Pinned()


def _hold_pid_namespace() -> int:
    """Fork the first process of the new PID namespace, which only waits; its pid on the host. Raises KernelError.

    It outlives the agent as the spawner's child, and ends by the engine's SIGKILL. With SIGCHLD ignored, the kernel
    reaps what is orphaned to it (wait(2), NOTES).
    """
    program = pause.open_pause()
    said, says = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _wait_for_ever(program, says)
        os.close(says)
        says = -1
        if number := os.read(said, 4):  # else the descriptor was closed by execveat(2)
            os.waitpid(pid, 0)
            raise KernelError("execveat", int(number), "the first process of the PID namespace")
        return pid
    finally:
        for fd in (program, said, says):
            if fd >= 0:
                os.close(fd)


def _wait_for_ever(program: int, says: int) -> None:
    """Become that process: what the containers find of it must lead nowhere, whatever they may do (ptrace(2)).

    So it has a root with nothing in it, no rights, no descriptors, and the user of Kubernetes' own pause image.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        process.unshare(process.CLONE_NEWNS)
        mount.mount_setattr(mount.AT_FDCWD, "/", propagation=mount.MS_PRIVATE, recursive=True)
        empty = mount.fsmount("tmpfs", "tmpfs", ["ro", "mode=555"], mount.MOUNT_ATTR_RDONLY)
        mount.attach(empty, mount.AT_FDCWD, "/")
        os.fchdir(empty)
        mount.pivot_root(".", ".")
        mount.umount2(".", mount.MNT_DETACH)
        process.set_no_new_privs()
        setgroups([])
        setresgid(_PAUSE_USER)
        setresuid(_PAUSE_USER)
        process.close_all_but({program, says})
        process.execveat(program, ["/pause"], {})
    except (KernelError, OSError) as error:
        os.write(says, str(error.errno).encode())
    finally:
        os._exit(1)


def _undo(made: list[str], holder: int) -> None:
    for path in made:
        try:
            mount.umount2(path, mount.MNT_DETACH)
        except KernelError:  # it was not bound yet
            pass
        os.unlink(path)
    if holder:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
