"""The volumes of the pods of this node: set up, kept fresh, offered as mounts, taken down.

    pods/<uid>/volumes/kubernetes.io~<plugin>/<name>     each volume (kubelet's layout)
    pods/<uid>/volume-subpaths/<volume>/<container>/<n>  binds of sub-paths, resolved once and safely
    pods/<uid>/etc-hosts, resolv.conf, hostname          files that every container sees

`teardown` finds what to unmount in /proc/self/mountinfo, so it also cleans what a killed predecessor left.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import in_thread
from groundplane.engine.contract import Mount
from groundplane.kernel.calls import files, mount
from groundplane.kernel.errors import KernelError
from groundplane.kinds import quantities
from groundplane.node.env import Sources, expand_strictly
from groundplane.node.resources import pod_resources
from groundplane.node.views import ContainerSpec, Pod
from groundplane.node.volumes import atomic
from groundplane.node.volumes.payload import Payload, Tokens, VolumeError, payload

_log = Log("node.volumes")
_PLUGINS = {
    "emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "downwardAPI": "downward-api",
    "projected": "projected", "hostPath": "host-path",
}  # fmt: skip
_IN_MEMORY = frozenset({"secret", "projected"})  # their content must never reach a disk
_WRITABLE = frozenset({"emptyDir", "hostPath"})  # the others are the cluster's: kubelet mounts them read-only
_UNFINISHED = 0o1000  # an emptyDir's mode until it is as its pod wants it; no program would choose it


class Volumes:
    """`root` is the node's state root; `sources` and `tokens` read the cluster as the node's identity.

    `memory` is the node's, in bytes.
    """

    def __init__(self, root: str, host_ip: str, sources: Sources, tokens: Tokens, memory: int) -> None:
        self._pods = os.path.join(root, "pods")
        self._host_ip = host_ip
        self._sources = sources
        self._tokens = tokens
        self._memory = memory
        os.makedirs(self._pods, mode=0o750, exist_ok=True)

    def directory(self, uid: str) -> str:
        return os.path.join(self._pods, uid)

    def known(self) -> list[str]:
        """The uids of pods that have a directory here."""
        return os.listdir(self._pods)

    async def prepare(self, pod: Pod, address: str = "") -> None:
        """Set up every volume of the pod. One that cannot be does not hold up the others. Raises VolumeError."""
        os.makedirs(self.directory(pod["metadata"]["uid"]), mode=0o750, exist_ok=True)
        await self._each(pod, address, pod["spec"].get("volumes") or ())

    async def refresh(self, pod: Pod, address: str = "") -> None:
        """Bring the content that comes from the cluster up to date. Raises VolumeError."""
        volumes = pod["spec"].get("volumes") or ()
        await self._each(pod, address, [v for v in volumes if not _WRITABLE & v.keys()])

    async def _each(self, pod: Pod, address: str, volumes: Iterable[Mapping[str, Any]]) -> None:
        failed: VolumeError | None = None
        for volume in volumes:
            try:
                await self._prepare_one(pod, volume, address)
            except (GroundError, OSError) as error:  # nestedpendingoperations' words
                words = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                failed = failed or VolumeError(words)
        if failed is not None:
            raise failed

    async def _prepare_one(self, pod: Pod, volume: Mapping[str, Any], address: str) -> None:
        files_of = await payload(pod, volume, address, self._host_ip, self._sources, self._tokens)
        path = self._path(pod, volume)
        if "hostPath" in volume:
            await in_thread(lambda: check_host_path(volume["hostPath"]))  # it may be on a server that does not answer
        elif files_of is not None:
            self._write(pod, volume, path, files_of)
        elif "emptyDir" in volume:
            self._empty_dir(pod, volume["emptyDir"] or {}, path)
        else:
            kind = next((k for k in volume if k != "name"), "emptyDir")
            offered = ", ".join(sorted(_PLUGINS))
            raise VolumeError(f'volume "{volume["name"]}": {kind} is not offered on this node; offered are {offered}')

    def _path(self, pod: Pod, volume: Mapping[str, Any]) -> str:
        if "hostPath" in volume:
            return str(volume["hostPath"]["path"])
        plugin = next((p for k, p in _PLUGINS.items() if k in volume), "unknown")
        uid = pod["metadata"]["uid"]
        return os.path.join(self.directory(uid), "volumes", f"kubernetes.io~{plugin}", volume["name"])

    def _write(self, pod: Pod, volume: Mapping[str, Any], path: str, files_of: Payload) -> None:
        os.makedirs(path, mode=0o755, exist_ok=True)
        if _IN_MEMORY & volume.keys() and not os.path.ismount(path):
            mount.mount("tmpfs", path, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "mode=0755")
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        atomic.write(path, files_of, group)

    def _empty_dir(self, pod: Pod, source: Mapping[str, Any], path: str) -> None:
        if source.get("medium", "") not in ("", "Memory"):
            raise VolumeError(f'emptyDir medium "{source["medium"]}" is not offered; use "" or Memory')
        os.makedirs(path, mode=_UNFINISHED, exist_ok=True)
        if source.get("medium") == "Memory" and not os.path.ismount(path):
            options = f"mode={_UNFINISHED:o},size={self._memory_size(pod, source)}"
            mount.mount("tmpfs", path, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, options)
        if stat.S_IMODE(os.stat(path).st_mode) != _UNFINISHED:
            return  # finished before: the mode is the pod's own from then on
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if group is not None:
            os.chown(path, -1, group)
        os.chmod(path, 0o777 if group is None else 0o2777)  # emptydir.go: any user of the pod may write

    def _memory_size(self, pod: Pod, source: Mapping[str, Any]) -> int:
        """The least of: the volume's limit, the pod's, the node's memory (emptydir.go, calculateEmptyDirMemorySize)."""
        limit = quantities.parse(source["sizeLimit"]).value if source.get("sizeLimit") else 0
        return min(size for size in (limit, pod_resources(pod).memory, self._memory) if size > 0)

    def mounts(self, pod: Pod, container: ContainerSpec, env: Mapping[str, str]) -> list[Mount]:
        """The container's mounts, sub-paths bound. Raises VolumeError, EnvError."""
        volumes = {v["name"]: v for v in pod["spec"].get("volumes") or ()}
        result = []
        for index, wanted in enumerate(container.get("volumeMounts") or ()):
            volume = volumes[wanted["name"]]
            source = self._path(pod, volume)
            sub_path = wanted.get("subPath", "")
            if wanted.get("subPathExpr"):
                sub_path = expand_strictly(wanted["subPathExpr"], env)
            if sub_path:
                source = self._sub_path(pod, container, wanted["name"], index, source, sub_path)
            propagation = {"Bidirectional": "rshared", "HostToContainer": "rslave"}
            result.append(
                Mount(
                    destination=wanted["mountPath"],
                    source=source,
                    read_only=bool(wanted.get("readOnly")) or not _WRITABLE & volume.keys(),
                    propagation=propagation.get(wanted.get("mountPropagation", ""), "rprivate"),
                )
            )
        return result

    def _sub_path(self, pod: Pod, container: ContainerSpec, volume: str, index: int, source: str, sub_path: str) -> str:
        """Bind the sub-path, resolved inside the volume by the kernel (CVE-2017-1002101, CVE-2021-25741)."""
        if os.path.isabs(sub_path):  # kubelet_pods.go, makeMounts
            raise VolumeError(f"error SubPath `{sub_path}` must not be an absolute path")
        if ".." in sub_path.split("/"):
            raise VolumeError(f"unable to provision SubPath `{sub_path}`: must not contain '..'")
        parts = ("volume-subpaths", volume, container["name"], str(index))
        target = os.path.join(self.directory(pod["metadata"]["uid"]), *parts)
        try:
            return _bind_inside(source, sub_path, target)
        except (KernelError, OSError) as error:  # kubelet_pods.go, makeMounts: no word about the host's files
            _log.warning("sub-path not bound", volume=volume, container=container["name"], error=str(error))
            words = f'failed to prepare subPath for volumeMount "{volume}" of container "{container["name"]}"'
            raise VolumeError(words) from error

    def release(self, uid: str) -> None:
        """Unmount and remove the volumes of a pod that has ended; what its containers said last stays. Idempotent."""
        unmount_below(self.directory(uid))
        for name in ("volumes", "volume-subpaths"):
            if os.path.isdir(path := os.path.join(self.directory(uid), name)):
                shutil.rmtree(path)

    def teardown(self, uid: str) -> None:
        """Unmount and remove everything of the pod; idempotent, also after a crash. hostPaths stay."""
        base = self.directory(uid)
        unmount_below(base)
        if os.path.isdir(base):
            shutil.rmtree(base)


def _bind_inside(source: str, sub_path: str, target: str) -> str:
    """Bind what `sub_path` is inside `source` now to `target`. Raises KernelError, OSError.

    An earlier bind stays where it shows the same file; a ConfigMap's may be of a file that was replaced.
    """
    root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = -1
    try:
        try:
            found = files.open_in_root(root, sub_path)
        except KernelError:
            found = _make_sub_path(root, sub_path)
        if os.path.lexists(target):
            if os.path.samestat(os.stat(target), os.fstat(found)):
                return target
            unmount_below(target)
            if os.path.isdir(target):
                os.rmdir(target)
            else:
                os.unlink(target)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISDIR(os.fstat(found).st_mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        tree = mount.open_tree(found, "", recursive=True, what=sub_path)
        try:
            mount.attach(tree, mount.AT_FDCWD, target)
        finally:
            os.close(tree)
    finally:
        os.close(root)
        if found >= 0:
            os.close(found)
    return target


def _make_sub_path(root: int, sub_path: str) -> int:
    """Make what is missing, each directory with the volume's own mode (subpath_linux.go, doSafeMakeDir)."""
    mode = stat.S_IMODE(os.fstat(root).st_mode) & 0o777
    done = ""
    for name in sub_path.split("/"):
        done = f"{done}/{name}"
        try:
            os.close(files.open_in_root(root, done))
            continue
        except KernelError:
            made = files.make_directories(root, done, mode)
        try:
            os.chmod(f"/proc/self/fd/{made}", mode | stat.S_IMODE(os.fstat(made).st_mode) & stat.S_ISGID)  # no umask
        finally:
            os.close(made)
    return files.open_in_root(root, sub_path)


def unmount_below(base: str) -> None:
    """Take away every mount at or below a path of ours, the inner ones first; idempotent."""
    for path in reversed(mount.points_below(base)):
        mount.umount2(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)


def check_host_path(source: Mapping[str, Any]) -> None:
    """hostPath types (pkg/volume/hostpath): make what is to be made, refuse what is not what it should be."""
    path, wanted = source["path"], source.get("type") or ""
    if not wanted:
        if not os.path.lexists(path):  # as runc and Docker: a bind mount's missing source becomes a directory
            os.makedirs(path, mode=0o755)
        return
    if wanted == "DirectoryOrCreate" and not os.path.lexists(path):
        os.makedirs(path, mode=0o755)
    if wanted == "FileOrCreate" and not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    checks = {
        "Directory": (stat.S_ISDIR, "a directory"), "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
        "File": (stat.S_ISREG, "a file"), "FileOrCreate": (stat.S_ISREG, "a file"),
        "Socket": (stat.S_ISSOCK, "a socket file"),
        "CharDevice": (stat.S_ISCHR, "a character device"), "BlockDevice": (stat.S_ISBLK, "a block device"),
    }  # fmt: skip
    fits, words = checks[wanted]
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = 0
    if not fits(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {words}")
