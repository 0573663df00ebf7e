"""Why a container cannot overwrite the interpreter that started it, and how a main makes sure of that.

The danger (CVE-2019-5736): the container's program is executed by our process, so a program of the container's choice
that is a link to /proc/self/exe, a `#!/proc/self/exe` script or an ELF file with that interpreter executes *our* file:
here the host's Python. Inside, it could reopen /proc/self/exe for writing and replace the interpreter of the host.

Looking at the program first does not help, because the container can swap it between the look and the execve(2).
So the file itself is put out of reach: a main that will launch containers executes itself once more from a detached
clone of the mount that holds the interpreter, with that clone read-only. /proc/self/exe then leads to a file on a
read-only mount, which open(2) for writing refuses with EROFS, and which nobody can remount or unmount, because it is
attached in no mount namespace. It costs no memory (a sealed copy, as older runtimes make, is 7 MB) and no entry in the
mount table; the file's pages stay shared with every other Python of the host.
Needs CAP_SYS_ADMIN, open_tree(2) Linux ≥ 5.2 and mount_setattr(2) ≥ 5.12.
"""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import GroundError
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.process import execveat
from groundplane.kernel.errors import KernelError

_AGAIN = "GROUND_PROTECTED"

# No orderly taking down of an interpreter whose process ends anyway: 2 ms.
_PROGRAM = """\
import os, sys
sys.path.append({root!r})
from {module} import main
code = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


def is_protected() -> bool:
    """Whether this process's executable lies on a read-only mount."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def ensure(module: str, arguments: list[str]) -> None:
    """Return at once where the executable is protected; else execute `module.main()` again from where it is.

    `arguments` become sys.argv[1:]. The second interpreter runs isolated and without `site`, which is also faster.
    Raises GroundError where the protection cannot be had: nothing is launched without it.
    """
    if is_protected():
        return
    if os.environ.pop(_AGAIN, None):
        raise GroundError("the interpreter could not be put on a read-only mount (CVE-2019-5736): refusing to go on")
    try:
        fd = m.open_tree(m.AT_FDCWD, os.path.realpath("/proc/self/exe"), recursive=False)
        m.mount_setattr(fd, set=m.MOUNT_ATTR_RDONLY)
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        program = _PROGRAM.format(root=root, module=module)
        execveat(fd, [sys.executable, "-I", "-S", "-c", program, *arguments], {**os.environ, _AGAIN: "1"})
    except KernelError as error:
        raise GroundError(f"the interpreter cannot be protected from containers (CVE-2019-5736): {error}") from error


def forget() -> None:
    """Drop the mark of the second execution, so that no child inherits it."""
    os.environ.pop(_AGAIN, None)
