"""The mounts of config.json, each made detached and then attached to a descriptor of its place."""

from __future__ import annotations

import errno
import os
import stat

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.files import PROC_SUPER_MAGIC, is_type, make_directories, make_file
from groundplane.kernel.calls.process import CLONE_NEWCGROUP, unshare
from groundplane.kernel.errors import KernelError
from groundplane.runtime.steps.base import Inside, Step, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundplane.kernel.cgroups.contract import View
    from groundplane.runtime.options import Options


class MountFilesystem(Step):
    """A new file system instance: proc, sysfs, tmpfs, devpts, mqueue, and whatever else the kernel has."""

    __slots__ = ("destination", "fstype", "label", "options", "source")

    def __init__(self, fstype: str, source: str, destination: str, options: Options, label: str = "") -> None:
        self.fstype = fstype
        self.source = source
        self.destination = destination
        self.options = options
        self.label = label  # SELinux's, of all its files; empty for none

    def describe(self) -> str:
        return f'mounting "{self.fstype}" to rootfs at "{self.destination}"'

    def apply(self, at: Inside) -> None:
        options = self.options
        place, existed = self._place(at)
        try:
            guard_proc(place, self.destination, is_proc=self.fstype == "proc")
            mode = stat.S_IMODE(os.fstat(place).st_mode) if existed and self.fstype == "tmpfs" else None
            mount_fd = m.fsmount(self.fstype, self.source, self._data(mode), self._attributes())
            try:
                if options.copy_up:
                    _copy_up(at, self.destination, mount_fd)
                m.attach(mount_fd, place, what=self.destination)
                _propagate(mount_fd, options, self.destination)
            finally:
                os.close(mount_fd)
        finally:
            os.close(place)

    def _attributes(self) -> int:
        if self.fstype == "tmpfs" and self.destination.rstrip("/") == "/dev":
            return self.options.set & ~m.MOUNT_ATTR_RDONLY  # `FinishRoot` sets it once the nodes are there
        return self.options.set

    def _data(self, mode: int | None) -> list[str]:
        data = [*self.options.superblock, *self.options.data]
        if mode is not None and not any(o.startswith("mode=") for o in data):
            data.append(f"mode={mode:04o}")  # the directory keeps its mode (/tmp stays 1777), as with runc
        if self._attributes() & m.MOUNT_ATTR_RDONLY:
            data.append("ro")  # the instance too, as mount(2) does with MS_RDONLY
        if self.label and self.fstype not in _UNLABELLED:
            data.append(f"context={self.label}")  # mount(8), "context="
        return data

    def _place(self, at: Inside) -> tuple[int, bool]:
        """Where it goes, and whether that was there.

        proc and sysfs behind a symbolic link of the image would leave the masks without effect (CVE-2019-19921).
        """
        ordinary = self.fstype in ("proc", "sysfs")
        try:
            return at.open(self.destination, os.O_PATH | os.O_DIRECTORY | (os.O_NOFOLLOW if ordinary else 0)), True
        except KernelError as error:
            if ordinary and error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise StepError(f'filesystem "{self.fstype}" must be mounted on ordinary directory') from None
            if error.errno != errno.ENOENT:
                raise
        return make_directories(at.root, self.destination), False


# Their files carry the kernel's own labels.
_UNLABELLED = ("proc", "sysfs", "mqueue")


class BindMount(Step):
    """A file or directory of the host; with `tree` one whose owners are mapped."""

    __slots__ = ("destination", "options", "source", "tree")

    def __init__(self, source: str, destination: str, options: Options, tree: int = -1) -> None:
        self.source = source
        self.destination = destination
        self.options = options
        self.tree = tree  # which of config.json's mounts it is, if outside must map its owners; else -1

    def describe(self) -> str:
        return f'mounting "{self.source}" to rootfs at "{self.destination}"'

    def apply(self, at: Inside) -> None:
        mount_fd = self._copy(at)
        place = -1
        try:
            info = os.fstat(mount_fd)
            directory = stat.S_ISDIR(info.st_mode)
            place = make_directories(at.root, self.destination) if directory else make_file(at.root, self.destination)
            guard_proc(place, self.destination, is_proc=is_type(mount_fd, PROC_SUPER_MAGIC))
            set_attributes(mount_fd, self.options, self.destination)
            # Before it is attached: it must not stay a peer of the host's mount unless it was asked to.
            if not self.options.propagation:
                m.mount_setattr(mount_fd, propagation=m.MS_PRIVATE, recursive=True, what=self.destination)
            _propagate(mount_fd, self.options, self.destination)
            m.attach(mount_fd, place, what=self.destination)
        finally:
            os.close(mount_fd)
            if place >= 0:
                os.close(place)

    def _copy(self, at: Inside) -> int:
        """The detached mount, with its owners mapped by outside where that was asked for.

        Cloned in here in any case, so that a user namespace's root cannot clear what the host has set on the mount.
        """
        source = open_outside(at, self.source)
        try:
            tree = m.open_tree(source, "", recursive=self.options.recursive, what=self.source)
        finally:
            os.close(source)
        if self.tree >= 0:
            at.talk.say_with_fd("tree", tree, text=str(self.tree))
            at.hear("go")
        return tree


class Remount(Step):
    """The option `remount`: change the attributes of a mount that is there, and its instance's options."""

    __slots__ = ("destination", "options")

    def __init__(self, destination: str, options: Options) -> None:
        self.destination = destination
        self.options = options

    def describe(self) -> str:
        return f'remounting "{self.destination}"'

    def apply(self, at: Inside) -> None:
        options = self.options
        place = at.open(self.destination)
        try:
            set_attributes(place, options, self.destination)
            if not options.bind and (options.superblock or options.data):
                m.reconfigure(place, [*options.superblock, *options.data], self.destination)
            _propagate(place, options, self.destination)
        finally:
            os.close(place)


# What may be mounted on inside /proc: files that tools such as lxcfs stand in for. runc's list.
_IN_PROC = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
}
_PROC_ROOT = 1  # the inode of every proc instance's root directory, linux/proc_ns.h


def guard_proc(place: int, destination: str, *, is_proc: bool) -> None:
    """Refuse a mount that would forge /proc for those who trust it. Raises StepError, in runc's words.

    A volume instead of /proc, or over files of it, makes what is written there go elsewhere: security labels, sysctls,
    masks (CVE-2019-16884, CVE-2023-27561, CVE-2025-52881).
    """
    path = "/" + os.path.normpath(destination).lstrip("/")
    inside = is_type(place, PROC_SUPER_MAGIC)
    if path == "/proc" or (inside and os.fstat(place).st_ino == _PROC_ROOT):
        if not is_proc:
            raise StepError(f'"{destination}" cannot be mounted because it is not of type proc')
    elif (inside or path.startswith("/proc/")) and path not in _IN_PROC:
        raise StepError(f'"{destination}" cannot be mounted because it is inside /proc')


def open_outside(at: Inside, path: str) -> int:
    """Open a path of the host (O_PATH). A user namespace's root may lack the right to walk there: then outside does."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except PermissionError:
        return at.ask("source", path)
    except OSError as error:
        raise KernelError.of("stat", error, path) from error


class MountCgroups(Step):
    """/sys/fs/cgroup: the container's own groups, through a cgroup namespace where it has one, else by binding them."""

    __slots__ = ("destination", "namespace", "options", "views")

    def __init__(self, destination: str, options: Options, views: Sequence[View], *, namespace: bool) -> None:
        self.destination = destination
        self.options = options
        self.views = views
        self.namespace = namespace

    def describe(self) -> str:
        return f'mounting "cgroup" to rootfs at "{self.destination}"'

    def apply(self, at: Inside) -> None:
        at.enter_groups()  # a cgroup namespace's root is where its maker is at that moment (cgroup_namespaces(7))
        if self.namespace:
            unshare(CLONE_NEWCGROUP)
        elif not self.views:
            self._bind_hosts(at)
            return
        flags = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
        place = make_directories(at.root, self.destination)
        if len(self.views) == 1 and not self.views[0].name:
            mount_fd = self._mount(self.views[0], self.options.set)
            m.attach(mount_fd, place, what=self.destination)
            os.close(mount_fd)
            os.close(place)
            return
        base = m.fsmount("tmpfs", "tmpfs", ["mode=755"], flags)
        m.attach(base, place, what=self.destination)
        os.close(place)
        for view in self.views:  # nobody else writes to the file system below them yet
            os.mkdir(view.name, 0o755, dir_fd=base)
            mount_fd = self._mount(view, self.options.set | flags)
            m.attach(mount_fd, base, view.name, what=f"{self.destination}/{view.name}")
            os.close(mount_fd)
            for link in view.links:
                os.symlink(view.name, link, dir_fd=base)
        if self.options.read_only:
            m.mount_setattr(base, set=m.MOUNT_ATTR_RDONLY, what=self.destination)
        os.close(base)

    def _bind_hosts(self, at: Inside) -> None:
        """Without a group of its own and without a namespace: the host's tree, to look at only (CVE-2023-25809)."""
        mount_fd = m.open_tree(m.AT_FDCWD, "/sys/fs/cgroup", recursive=True)
        try:
            flags = m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
            m.mount_setattr(mount_fd, set=flags, recursive=True, what=self.destination)
            place = make_directories(at.root, self.destination)
            m.attach(mount_fd, place, what=self.destination)
            os.close(place)
        finally:
            os.close(mount_fd)

    def _mount(self, view: View, attributes: int) -> int:
        """The group, detached. In a namespace this is what mounting the hierarchy anew gives, for a fifth of the time.

        For the latter waits for the lock of all groups (cgroup_mutex), which outside is busy with. It remains for who
        has a namespace and no group of its own, so that we cannot know what its root will be.
        """
        try:
            mount_fd = m.open_tree(m.AT_FDCWD, view.directory, recursive=False)
        except KernelError as error:
            if not self.namespace or error.errno != errno.ENOENT:
                raise
            return m.fsmount(view.fstype, view.fstype, list(view.options), attributes)
        if attributes:
            m.mount_setattr(mount_fd, set=attributes, what=view.directory)
        return mount_fd


class NewCgroupNamespace(Step):
    """A cgroup namespace for a container that does not mount the hierarchies."""

    __slots__ = ()

    def describe(self) -> str:
        return "entering a new cgroup namespace"

    def apply(self, at: Inside) -> None:
        at.enter_groups()
        unshare(CLONE_NEWCGROUP)


def set_attributes(mount_fd: int, options: Options, what: str) -> None:
    """The attributes that were asked for; the others stay the source's. Times are one field, cleared as a whole."""
    if options.set or options.clear:
        m.mount_setattr(mount_fd, set=options.set, clear=options.clear, what=what)
    if options.recursive_set or options.recursive_clear:
        m.mount_setattr(mount_fd, set=options.recursive_set, clear=options.recursive_clear, recursive=True, what=what)


def _propagate(mount_fd: int, options: Options, what: str) -> None:
    for kind, recursive in options.propagation:
        m.mount_setattr(mount_fd, propagation=kind, recursive=recursive, what=what)


def _copy_up(at: Inside, path: str, mount_fd: int) -> None:
    """Fill a new tmpfs with what the image has at its place (runc's `tmpcopyup`): files, directories and links."""
    source = at.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _copy_directory(source, mount_fd)
    except OSError as error:
        raise KernelError.of("tmpcopyup", error, path) from error
    finally:
        os.close(source)


def _copy_directory(source: int, target: int) -> None:
    for name in os.listdir(source):
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
            continue
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner, outer = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
            _copy_directory(inner, outer)
        elif stat.S_ISREG(info.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
            outer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=target)
            while os.sendfile(outer, inner, None, 1 << 20):
                pass
        else:
            continue
        os.fchown(outer, info.st_uid, info.st_gid)
        os.fchmod(outer, mode)
        os.close(inner)
        os.close(outer)
