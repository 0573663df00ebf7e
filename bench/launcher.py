"""A small living process that launches containers, as the resident half does; `bench/runtime.py` starts and asks it.

    python3 -I -S launcher.py SOURCE BUNDLE CGROUP

For each line `launch` on its standard input it mounts an overlay over the bundle's root file system, makes and starts a
container on it, and answers when the program runs; for
`floor`, a process in six new namespaces that executes the same program and does nothing of what makes a container;
`end` reaps the last one and clears up.
"""

from __future__ import annotations

import gc
import os
import sys

sys.path.append(sys.argv[1])

from groundplane.kernel.calls import process as p
from groundplane.kernel.calls.mount import mount, umount2
from groundplane.runtime import deletion, launch, lookups
from groundplane.runtime.documents import read_config_file

_SIX = p.CLONE_NEWNS | p.CLONE_NEWUTS | p.CLONE_NEWIPC | p.CLONE_NEWPID | p.CLONE_NEWNET | p.CLONE_NEWCGROUP


def floor(program: str) -> int:
    """Six namespaces and execve(2); returns the pid once it has executed."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = p.clone3(_SIX)
    if pid == 0:
        os.execv(program, ["true"])
    os.close(pidfd)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    return pid


def main() -> None:
    bundle, cgroup = sys.argv[2:4]
    config, _ = read_config_file(bundle)
    config["root"]["path"] = "root"
    for name in ("root", "upper", "work", "filters"):
        os.mkdir(f"{bundle}/{name}", 0o700)
    layers = f"lowerdir={bundle}/rootfs,upperdir={bundle}/upper,workdir={bundle}/work"
    lookups.prepare()
    gc.collect()
    gc.freeze()
    gc.disable()
    pid, made = 0, False
    for line in sys.stdin:
        if line == "launch\n":
            mount("overlay", f"{bundle}/root", "overlay", 0, layers)
            created = launch.create(
                config, bundle=bundle, id="bench", stdio=(0, 1, 2), cgroup=cgroup, seccomp_cache=f"{bundle}/filters"
            )
            created.start()
            os.close(created.pidfd)
            pid, made = created.pid, True
        elif line == "floor\n":
            pid = floor(f"{bundle}/rootfs/bin/true")
        else:
            os.waitpid(pid, 0)
            if made:
                deletion.delete(config, bundle=bundle, id="bench", cgroup=cgroup)
                umount2(f"{bundle}/root")
            made = False
        sys.stderr.write("done\n")
        sys.stderr.flush()


main()
