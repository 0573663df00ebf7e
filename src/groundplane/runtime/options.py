"""Mount options as fstab, mount(8) and runtime-spec 1.2 (config.md, "Linux mount options") name them."""

from __future__ import annotations

from groundplane.kernel.calls import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# option: (attributes to set, attributes to clear). The four times are one field of the kernel's, so that setting one
# means clearing the field first (mount_setattr(2)).
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "noatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME),
    "atime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "relatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "norelatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR__ATIME),
    "nostrictatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}
# The recursive ones (runtime-spec 1.1) are these with an `r` in front; rbind is none of them.
_RECURSIVE = {f"r{name}": value for name, value in _ATTRIBUTES.items()}

_PROPAGATION: dict[str, tuple[int, bool]] = {
    "private": (m.MS_PRIVATE, False),
    "rprivate": (m.MS_PRIVATE, True),
    "shared": (m.MS_SHARED, False),
    "rshared": (m.MS_SHARED, True),
    "slave": (m.MS_SLAVE, False),
    "rslave": (m.MS_SLAVE, True),
    "unbindable": (m.MS_UNBINDABLE, False),
    "runbindable": (m.MS_UNBINDABLE, True),
}

# Options of every file system's instance, which the kernel takes by these names (fsconfig(2), FSCONFIG_SET_FLAG). A
# bind mount has no instance of its own: there they change nothing, as with mount(2).
_SUPERBLOCK = {"sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"}
# `silent` and `loud` are about the kernel's log; versions of inodes are kept by the file systems that have them whether
# asked or not (Linux ≥ 6.0); the rest is for mount(8) and the init system.
_MEANINGLESS = {"", "defaults", "silent", "loud", "iversion", "noiversion", "acl", "noacl"}
_MEANINGLESS |= {"nofail", "auto", "noauto", "_netdev"}


class Options:
    """A mount's options, sorted by what the kernel wants to know when."""

    __slots__ = (
        "bind",
        "clear",
        "copy_up",
        "data",
        "idmap",
        "propagation",
        "recursive",
        "recursive_clear",
        "recursive_idmap",
        "recursive_set",
        "remount",
        "set",
        "superblock",
    )

    def __init__(self) -> None:
        self.set = 0  # MOUNT_ATTR_* of the mount
        self.clear = 0
        self.recursive_set = 0  # and of all mounts below it
        self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []  # (MS_SHARED …, with those below), in order
        self.bind = False
        self.recursive = False  # of rbind
        self.idmap = False
        self.recursive_idmap = False  # of ridmap: the mounts below too
        self.remount = False  # change the mount that is there
        self.copy_up = False  # runc's `tmpcopyup`
        self.superblock: list[str] = []  # those that every file system knows
        self.data: list[str] = []  # the file system's own

    @property
    def read_only(self) -> bool:
        return bool(self.set & m.MOUNT_ATTR_RDONLY)


def parse(options: Iterable[str]) -> Options:
    """Sort `options`; later ones win over earlier ones. What is not known here is the file system's own."""
    result = Options()
    for option in options:
        if option in ("bind", "rbind"):
            result.bind = True
            result.recursive = result.recursive or option == "rbind"
        elif option in _ATTRIBUTES:
            add, remove = _ATTRIBUTES[option]
            result.set = result.set & ~remove | add
            result.clear = result.clear & ~add | remove
        elif option in _PROPAGATION:
            result.propagation.append(_PROPAGATION[option])
        elif option in _RECURSIVE:
            add, remove = _RECURSIVE[option]
            result.recursive_set = result.recursive_set & ~remove | add
            result.recursive_clear = result.recursive_clear & ~add | remove
        elif option in ("idmap", "ridmap"):
            result.idmap = True
            result.recursive_idmap = option == "ridmap"
        elif option == "remount":
            result.remount = True
        elif option == "tmpcopyup":
            result.copy_up = True
        elif option in _SUPERBLOCK:
            result.superblock.append(option)
        elif option not in _MEANINGLESS:
            result.data.append(option)
    return result


def propagation_of(name: str) -> tuple[int, bool]:
    """`linux.rootfsPropagation` as (MS_*, recursive). Raises KeyError."""
    return _PROPAGATION[name]


def known() -> list[str]:
    """The options that are not passed to a file system, for `features`."""
    own = {"bind", "rbind", "idmap", "ridmap", "remount", "tmpcopyup"}
    return sorted({*own, *_ATTRIBUTES, *_RECURSIVE, *_PROPAGATION, *_SUPERBLOCK, *_MEANINGLESS} - {""})
