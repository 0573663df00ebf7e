"""The root file system: make it a mount of this namespace's own, swap it in, finish it.

Strange ground, once. A new mount namespace starts as a copy of the caller's, and each copied mount stays in the peer
group of its original: what is mounted here would appear on the host where its mounts are shared, as systemd makes them
(mount_namespaces(7)). So first everything becomes a slave (host → container only, or whatever
`linux.rootfsPropagation` says). Then the root directory is cloned to a mount of its own, attached over itself.
pivot_root(2) wants the new root to be a mount point and neither it nor its parent to be shared. Called as
pivot_root(".", ".") it stacks the old root on top of the new one, which is then detached by umount2(".", MNT_DETACH):
no directory for the old root is needed, and afterwards no path leads to the host.
"""

from __future__ import annotations

import errno
import os

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.files import make_directories, read_text
from groundplane.kernel.errors import KernelError
from groundplane.runtime.options import propagation_of
from groundplane.runtime.steps.base import Inside, Step, StepError
from groundplane.runtime.steps.mounts import open_outside


class PrepareRoot(Step):
    """Isolate this mount namespace and make the root directory a mount in it."""

    __slots__ = ("path", "propagation")

    def __init__(self, path: str, propagation: str) -> None:
        self.path = path
        self.propagation = propagation or "rslave"  # runc's default too; always of all mounts, to be sure of each

    def describe(self) -> str:
        return f"preparing rootfs {self.path}"

    def apply(self, at: Inside) -> None:
        kind, _ = propagation_of(self.propagation)
        if kind == m.MS_UNBINDABLE:
            kind = m.MS_SLAVE  # an unbindable mount could not be cloned below; `FinishRoot` makes it so at the end
        m.mount_setattr(m.AT_FDCWD, "/", propagation=kind, recursive=True)
        source = open_outside(at, self.path)
        tree = m.open_tree(source, "", recursive=True, what=self.path)
        if kind == m.MS_SHARED:
            # Otherwise attaching it would show on the host, and pivot_root would refuse.
            _make_parent_private(self.path)
        m.mount_setattr(tree, propagation=m.MS_PRIVATE, what=self.path)
        m.attach(tree, source, what=self.path)
        os.close(source)
        at.root = tree


def _make_parent_private(path: str) -> None:
    """Make private the mount that `path` lies on, wherever its mount point is."""
    real = os.path.realpath(path)
    while True:
        try:
            m.mount_setattr(m.AT_FDCWD, real, propagation=m.MS_PRIVATE)
            return
        except KernelError:  # EINVAL: not a mount point; its parent directory is nearer to one
            if real == "/":
                raise
            real = os.path.dirname(real)


class ShareRoot(Step):
    """The root directory as a mount of its own in a mount namespace that others live in.

    In the caller's (`hostroot.py`) outside is told, to take it away again; in one that was joined by its path it stays
    as long as that, as with runc.
    """

    __slots__ = ("ours", "path")

    def __init__(self, path: str, *, ours: bool) -> None:
        self.path = path
        self.ours = ours

    def describe(self) -> str:
        return f"preparing rootfs {self.path}"

    def apply(self, at: Inside) -> None:
        source = open_outside(at, self.path)
        tree = m.open_tree(source, "", recursive=True, what=self.path)
        m.mount_setattr(tree, propagation=m.MS_PRIVATE, recursive=True, what=self.path)
        m.attach(tree, source, what=self.path)
        if self.ours:
            at.talk.say("rooted")
        os.close(source)
        at.root = tree


class ChangeRoot(Step):
    """chroot(2) into the prepared root, where the mount namespace is not the container's to swap roots in."""

    __slots__ = ()

    def describe(self) -> str:
        return "chroot"

    def apply(self, at: Inside) -> None:
        try:
            os.fchdir(at.root)
            os.chroot(".")
            os.chdir("/")
        except OSError as error:
            raise KernelError.of("chroot", error, "rootfs") from error


class PivotRoot(Step):
    """Make the prepared root this namespace's root, and let go of the host's."""

    __slots__ = ()

    def describe(self) -> str:
        return "pivot_root"

    def apply(self, at: Inside) -> None:
        try:
            old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fchdir(at.root)
            m.pivot_root(".", ".")
            # Slave, so that detaching the old root, and all that is mounted there, does not propagate to the host. It
            # is named by its descriptor: to every call but umount2, "." is the new root below it.
            m.mount_setattr(old, propagation=m.MS_SLAVE, recursive=True, what="the old root")
            os.close(old)
            m.umount2(".", m.MNT_DETACH)
            os.chdir("/")
        except OSError as error:
            raise KernelError.of("fchdir", error, "rootfs") from error


class MoveRoot(Step):
    """runc's --no-pivot: move the root over the host's, for hosts whose root is a ramfs, which pivot_root(2) refuses.

    The host's tree stays mounted below, where a process with CAP_SYS_CHROOT and CAP_SYS_ADMIN could find it, so its
    proc and sysfs instances, which are not masked, are taken from this namespace first (as runc does).
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return "moving the root"

    def apply(self, at: Inside) -> None:
        for place in reversed(_unmasked(self.path)):
            m.mount_setattr(m.AT_FDCWD, place, propagation=m.MS_SLAVE, recursive=True)
            try:
                m.umount2(place, m.MNT_DETACH)
            except KernelError as error:
                if error.errno not in (errno.EINVAL, errno.EPERM):
                    raise
                # Locked to its parent in a user namespace: it can be covered, not taken away.
                m.mount("tmpfs", place, "tmpfs")
        try:
            os.fchdir(at.root)
            m.mount(self.path, "/", "", m.MS_MOVE)
            os.chroot(".")
            os.chdir("/")
        except OSError as error:
            raise KernelError.of("chroot", error, self.path) from error


def _unmasked(root: str) -> list[str]:
    """Mount points of proc and sysfs outside `root`, as /proc/self/mountinfo lists them (proc_pid_mountinfo(5))."""
    found = []
    for line in read_text("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        place = head.split(" ")[4].replace("\\040", " ")
        if tail.split(" ", 1)[0] in ("proc", "sysfs") and not f"{place}/".startswith(f"{root}/"):
            found.append(place)
    return found


class FinishRoot(Step):
    """The root's own flags, after everything has been mounted on it."""

    __slots__ = ("dev_readonly", "readonly")

    def __init__(self, *, readonly: bool, dev_readonly: bool) -> None:
        self.readonly = readonly
        self.dev_readonly = dev_readonly

    def describe(self) -> str:
        return "setting the flags of the root mount"

    def apply(self, at: Inside) -> None:
        if self.dev_readonly:  # a read-only /dev could not have got its nodes
            fd = at.open("/dev")
            m.mount_setattr(fd, set=m.MOUNT_ATTR_RDONLY, what="/dev")
            os.close(fd)
        if self.readonly:
            m.mount_setattr(at.root, set=m.MOUNT_ATTR_RDONLY, what="/")


class SetPropagation(Step):
    """`linux.rootfsPropagation`, last of all that mounts: what is unbindable can be bound no more, by us neither."""

    __slots__ = ("propagation",)

    def __init__(self, propagation: str) -> None:
        self.propagation = propagation

    def describe(self) -> str:
        return f"making the root mount {self.propagation}"

    def apply(self, at: Inside) -> None:
        kind, recursive = propagation_of(self.propagation)
        m.mount_setattr(at.root, propagation=kind, recursive=recursive, what="/")


class MakeWorkingDirectory(Step):
    """Make the process's working directory where the image lacks it, as runc does."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"making the working directory {self.path}"

    def apply(self, at: Inside) -> None:
        os.close(make_directories(at.root, self.path))


def enter_directory(path: str) -> None:
    """chdir(2), and prove that it is inside the root: a magic link to a leaked descriptor may lead out.

    (CVE-2024-21626: a working directory of /proc/self/fd/N.)
    """
    try:
        os.chdir(path)
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
        if not os.path.isdir(path):
            raise StepError(f'chdir to cwd ("{path}") set in config.json failed: no such file or directory') from None
    except NotADirectoryError:
        raise StepError(f'chdir to cwd ("{path}") set in config.json failed: not a directory') from None
    except PermissionError:
        raise StepError(f'chdir to cwd ("{path}") set in config.json failed: permission denied') from None
    except OSError as error:
        raise KernelError.of("chdir", error, path) from error
    if not here.startswith("/"):
        raise StepError(
            "current working directory is outside of container mount namespace root -- possible container breakout"
        )
