"""A container without a mount namespace: its root is mounted in the caller's own, and has to be taken away again.

runtime-spec 1.2 lets a document leave the namespace out (config-linux.md, "Namespaces": the container inherits the
runtime's). Then everything is mounted where the caller sees it, below a bind of the root directory over itself, and the
process is kept in there by chroot(2) alone. With that one bind all the rest goes; runc leaves it to whoever cleans up.
"""

from __future__ import annotations

import os

from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls.files import read_text


def detach(root: str) -> None:
    """Take the topmost mount at `root` away, with all that lies on it, if it is a bind of that directory over itself.

    proc_pid_mountinfo(5): id, parent, device, root of the mount within its file system, mount point. Any other mount
    there is the caller's. Raises KernelError.
    """
    mounts: dict[str, list[str]] = {}
    here = []
    for line in read_text("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        fields[3:5] = [field.replace("\\040", " ").replace("\\134", "\\") for field in fields[3:5]]
        mounts[fields[0]] = fields
        if fields[4] == root:
            here.append(fields)
    parents = {fields[1] for fields in here}
    top = next((fields for fields in here if fields[0] not in parents), None)
    if top is None or (parent := mounts.get(top[1])) is None:
        return
    below = os.path.normpath(os.path.join(parent[3], os.path.relpath(root, parent[4])))
    if (top[2], top[3]) == (parent[2], below):
        m.umount2(root, m.MNT_DETACH | m.UMOUNT_NOFOLLOW)
