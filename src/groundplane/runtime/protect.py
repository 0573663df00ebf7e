"""Why a container cannot overwrite the interpreter that started it, and the two ways to make sure of that.

The danger (CVE-2019-5736): the container's program is executed by our process, so a program of the container's choice
that is a link to /proc/self/exe, a `#!/proc/self/exe` script or an ELF file with that interpreter executes *our* file:
here the host's Python. Inside, it could reopen /proc/self/exe for writing and replace the interpreter of the host.

Looking at the program first does not help, because the container can swap it between the look and the execve(2).

*A read-only interpreter* (`ensure`). A main that will launch containers executes itself once more from a detached clone
of the mount that holds the interpreter, with that clone read-only. /proc/self/exe then leads to a file on a read-only
mount, which open(2) for writing refuses with EROFS, and which nobody can remount or unmount, because it is attached in
no mount namespace. It costs no memory (a sealed copy, as older runtimes make, is 7 MB) and no entry in the mount table;
the file's pages stay shared with every other Python of the host. It protects whatever the container does, and is worth
its price, the start of an interpreter (7 ms), to a process that lives long. The clone's attributes cannot be changed
back either: with its last descriptor, which the execve(2) closes, it stops being a mount in any sense, and no call
finds it any more (EINVAL).
Needs CAP_SYS_ADMIN, or a kernel that lets users make user namespaces; open_tree(2) ≥ 5.2, mount_setattr(2) ≥ 5.12.

*A trampoline* (`trampoline`). Our process executes a sealed file in memory, and that file the container's program
(`kernel/trampoline.py`): a third of a millisecond. It is for a command that lives for one container, and only where
nothing of the container runs before its program does, and where one execve(2) more changes nothing: see `_exposed`.
"""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.process import execveat
from groundplane.kernel.errors import KernelError
from groundplane.kernel.trampoline import open_trampoline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AGAIN = "GROUND_PROTECTED"

_PROGRAM = """\
import sys
sys.path.append({root!r})
from {module} import main
sys.exit(main())
"""


def is_protected() -> bool:
    """Whether this process's executable lies on a read-only mount."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def ensure(module: str, arguments: list[str]) -> None:
    """Return at once where the executable is protected; else execute `module.main()` again from where it is.

    `arguments` become sys.argv[1:]. The second interpreter runs isolated and without `site`, which is also faster.
    Raises GroundError where the protection cannot be had: nothing is launched without it.
    """
    again = os.environ.pop(_AGAIN, None)  # no child inherits it
    if is_protected():
        return
    if again:
        raise GroundError("the interpreter could not be put on a read-only mount (CVE-2019-5736): refusing to go on")
    try:
        fd = _clone() if os.geteuid() == 0 else _clone_in_namespace()
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        program = _PROGRAM.format(root=root, module=module)
        execveat(fd, [sys.executable, "-I", "-S", "-c", program, *arguments], {**os.environ, _AGAIN: "1"})
    except KernelError as error:
        raise GroundError(f"the interpreter cannot be protected from containers (CVE-2019-5736): {error}") from error


def _clone() -> int:
    """The executable on a read-only mount that is attached nowhere. Raises KernelError."""
    fd = m.open_tree(m.AT_FDCWD, os.path.realpath("/proc/self/exe"), recursive=False)
    m.mount_setattr(fd, set=m.MOUNT_ATTR_RDONLY)
    return fd


def _clone_in_namespace() -> int:
    """The same without root: a child makes it in a user namespace of its own and hands it over."""
    from groundplane.kernel.calls.process import CLONE_NEWNS, CLONE_NEWUSER, unshare
    from groundplane.runtime.talk import Gone, pair

    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CLONE_NEWUSER | CLONE_NEWNS)
            theirs.say_with_fd("clone", _clone())
        except KernelError as error:
            theirs.say("error", str(error))
        finally:
            os._exit(0)
    theirs.close()
    try:
        word, text, fd = ours.hear_with_fd()
    except Gone:
        raise GroundError("the interpreter cannot be protected from containers (CVE-2019-5736)") from None
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if word != "clone":
        raise GroundError(f"the interpreter cannot be protected from containers (CVE-2019-5736): {text}")
    return fd


def trampoline(config: dict[str, Any], report_fd: int) -> int:
    """A trampoline for this container's program that reports to `report_fd`; -1 where the executable is protected.

    Where the container must not be started from one, the command line is executed again, protected: call it before
    anything is made. Raises GroundError as `ensure`.
    """
    if not is_protected() and not _exposed(config):
        try:
            return open_trampoline(report_fd)
        except KernelError:
            pass  # this host does not execute files in memory
    ensure("groundplane.runtime.main", sys.argv[1:])
    return -1


def _exposed(config: dict[str, Any]) -> bool:
    """Whether something of the container could look at our process, or would notice that execve(2) is called twice."""
    try:
        linux, process = config["linux"], config["process"]
        user, capabilities = process.get("user") or {}, process.get("capabilities") or {}
        return not (
            # Ours is the first process that it can see: nobody opens /proc/PID/exe before the program runs.
            any(n["type"] == "pid" and not n.get("path") for n in linux["namespaces"])
            # Their paths are the container's, and Python executes them.
            and not (config.get("hooks") or {}).get("startContainer")
            # A label is for the next execve(2), and a policy may not let the trampoline be executed.
            and not (process.get("apparmorProfile") or process.get("selinuxLabel") or os.path.isdir("/sys/fs/selinux"))
            # Another user than 0 loses what is not ambient with the first execve(2); opening the program may need it.
            and (not user.get("uid") or not capabilities.get("effective"))
            and _lets_pass(linux.get("seccomp"))
        )
    except (AttributeError, KeyError, TypeError):
        return True  # the document is not right: whoever reads all of it has a sentence for that


def _lets_pass(profile: dict[str, Any] | None) -> bool:
    """Whether a seccomp profile plainly allows what the trampoline calls beside execve(2)."""
    if not profile:
        return True
    for call in ("execveat", "fcntl", "write", "exit_group"):
        rules = [rule for rule in profile.get("syscalls") or () if call in rule["names"]]
        plain = [rule for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")]
        if len(plain) < len(rules) or not (rules or profile["defaultAction"] == "SCMP_ACT_ALLOW"):
            return False
    return True
