"""Mounts as config.md and config-linux.md promise them: every option, mapped owners, propagation, /proc kept honest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.real.bundles import Box, Streams, reap

from groundplane.kernel.cgroups import registry
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@contextmanager
def tree(box: Box, *, shared: bool = False) -> Iterator[Path]:
    """A host directory that is a mount, with another mount below it."""
    source = box.directory / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "above", str(source)], check=True)
    try:
        (source / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "below", str(source / "below")], check=True)
        if shared:
            subprocess.run(["mount", "--make-rshared", str(source)], check=True)
        yield source
    finally:
        subprocess.run(["umount", "-R", str(source)], check=True)


def flags(box: Box) -> dict[str, set[str]]:
    """The per-mount options of every mount in the container. proc_pid_mountinfo(5), field 6."""
    return {line.split()[4]: set(line.split()[5].split(",")) for line in box.run("cat", "/proc/self/mountinfo").lines}


def map_root(box: Box, first: int) -> None:
    """Give the box's files to the user that a user namespace makes its root."""
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": first, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, first, first, follow_symlinks=False)


# Attributes.

ATTRIBUTES = {
    "ro": "ro",
    "nosuid": "nosuid",
    "nodev": "nodev",
    "noexec": "noexec",
    "noatime": "noatime",
    "nodiratime": "nodiratime",
    "relatime": "relatime",
    "nosymfollow": "nosymfollow",
}


def test_each_attribute_on_one_mount_or_on_all_below(box: Box) -> None:
    """config.md, "Linux mount options": `ro` concerns the mount itself, `rro` those below it too."""
    with tree(box) as source:
        for option in ATTRIBUTES:
            box.mount(f"/one/{option}", "bind", str(source), "rbind", option)
            box.mount(f"/all/{option}", "bind", str(source), "rbind", f"r{option}")
        found = flags(box)
    for option, flag in ATTRIBUTES.items():
        assert flag in found[f"/one/{option}"]
        assert (flag in found[f"/one/{option}/below"]) == (option == "relatime"), "relatime is the default"
        assert flag in found[f"/all/{option}"] & found[f"/all/{option}/below"]


CLEARED = ["rw", "suid", "dev", "exec", "atime", "diratime", "symfollow", "strictatime"]


def test_each_attribute_can_be_cleared_again(box: Box) -> None:
    with tree(box) as source:
        options = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow,bind,remount"
        for place in (source, source / "below"):
            subprocess.run(["mount", "-o", options, str(place)], check=True)
        box.mount("/one", "bind", str(source), "rbind", *CLEARED)
        box.mount("/all", "bind", str(source), "rbind", *[f"r{option}" for option in CLEARED])
        found = flags(box)
    assert found["/one"] == {"rw"}
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= found["/one/below"]
    assert found["/all"] == found["/all/below"] == {"rw"}


def test_a_bind_without_r_has_only_the_upper_mount(box: Box) -> None:
    with tree(box) as source:
        box.mount("/one", "bind", str(source), "bind")
        found = flags(box)
    assert "/one" in found
    assert "/one/below" not in found


def test_options_of_the_instance(box: Box) -> None:
    box.mount("/a", "tmpfs", "tmpfs", "sync", "dirsync", "silent", "iversion", "defaults", "size=32k", "uid=7")
    box.mount("/b", "bind", "/etc", "bind", "sync", "defaults")  # a bind mount has no instance to set it on
    out = box.run(script="grep ' /a ' /proc/self/mountinfo; stat -c %u /a; ls /b | wc -l").lines
    assert {"sync", "dirsync", "size=32k", "uid=7"} <= set(out[0].rpartition(" ")[2].split(","))
    assert out[1] == "7"
    assert int(out[2]) > 3


def test_options_that_a_bind_cannot_have_are_told(box: Box) -> None:
    box.mount("/x", "bind", "/etc", "bind", "mode=755", "size=1k")
    assert box.run("true").warnings == ("mount /x: mode=755,size=1k: a bind mount has no options of its own",)


def test_remount_changes_what_is_there(box: Box) -> None:
    box.mount("/a", "tmpfs", "tmpfs", "size=64k", "nosuid")
    box.mount("/a", "", "", "remount", "bind", "ro", "nodev")
    box.mount("/b", "tmpfs", "tmpfs", "size=64k")
    box.mount("/b", "tmpfs", "tmpfs", "remount", "size=32k")
    lines = {line.split()[4]: line for line in box.run("cat", "/proc/self/mountinfo").lines}
    assert set(lines["/a"].split()[5].split(",")) == {"ro", "nosuid", "nodev", "relatime"}
    assert "size=32k" in lines["/b"]


def test_mounts_are_made_in_their_order(box: Box) -> None:
    box.mount("/a", "tmpfs", "tmpfs")
    box.mount("/a/b", "tmpfs", "tmpfs")
    box.mount("/a", "tmpfs", "tmpfs")
    assert box.run(script="ls /a | wc -l; grep -c ' /a' /proc/self/mountinfo").lines == ["0", "3"]


def test_a_place_may_be_named_as_the_host_sees_it(box: Box) -> None:
    """Podman and older engines do; runc takes the root's own path away."""
    box.mount(f"{box.root}/a", "tmpfs", "tmpfs", "size=4k")
    assert box.run("grep", "-c", " /a ", "/proc/self/mountinfo").out == "1\n"
    assert not (box.root / "tmp").exists()


# Propagation.


@pytest.mark.parametrize(
    ("option", "above", "below"),
    [
        ("private", "", "shared"),
        ("rprivate", "", ""),
        ("slave", "master", "shared"),
        ("rslave", "master", "master"),
        ("shared", "shared", "shared"),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", "shared"),
        ("runbindable", "unbindable", "unbindable"),
    ],
)
def test_propagation_of_a_mount_and_of_those_below(box: Box, option: str, above: str, below: str) -> None:
    box.linux["rootfsPropagation"] = "shared"  # else all that the host shares arrives as a slave
    with tree(box, shared=True) as source:
        box.mount("/m", "bind", str(source), "rbind", option)
        lines = {line.split()[4]: line for line in box.run("cat", "/proc/self/mountinfo").lines}

    def tag(line: str) -> str:
        tags = [word.partition(":")[0] for word in line.split(" - ")[0].split()[6:]]
        return "master" if "master" in tags else "".join(tags)

    assert (tag(lines["/m"]), tag(lines["/m/below"])) == (above, below)


def test_what_the_host_mounts_arrives_in_a_slave_and_not_the_other_way(box: Box) -> None:
    box.linux["rootfsPropagation"] = "rslave"
    box.process["capabilities"]["bounding"] = ["CAP_SYS_ADMIN"]
    box.process["capabilities"]["permitted"] = box.process["capabilities"]["effective"] = ["CAP_SYS_ADMIN"]
    with tree(box, shared=True) as source:
        (source / "later").mkdir()
        box.mount("/m", "bind", str(source), "rbind", "rslave")
        box.process["args"] = ["sh", "-c", "mount -t tmpfs own /m/below && sleep 60"]
        created = box.create()
        created.start()
        try:
            subprocess.run(["mount", "-t", "tmpfs", "later", str(source / "later")], check=True)
            inside = Path(f"/proc/{created.pid}/mountinfo").read_text()
            assert " /m/later " in inside
            assert " - tmpfs own " not in Path("/proc/self/mountinfo").read_text()
        finally:
            created.abort()
            box.delete()


# Owners.


def test_a_mount_with_mapped_owners(box: Box) -> None:
    """config.md, "Mounts": uidMappings and gidMappings, Linux ≥ 5.12."""
    source = box.directory / "data"
    source.mkdir()
    (source / "file").write_text("x")
    os.chown(source / "file", 1000, 1001)
    box.mount("/plain", "bind", str(source), "bind")
    box.mount("/mapped", "bind", str(source), "bind", "idmap")
    box.config["mounts"][-1] |= {
        "uidMappings": [{"containerID": 1000, "hostID": 5, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}],
        "gidMappings": [{"containerID": 1000, "hostID": 70, "size": 10}, {"containerID": 0, "hostID": 0, "size": 1}],
    }
    out = box.run("stat", "-c", "%u %g", "/plain/file", "/mapped/file").lines
    assert out == ["1000 1001", "5 71"]
    # And what is made through it belongs to the other side's owner, on the host.
    box.process["user"] = {"uid": 5, "gid": 70}
    source.chmod(0o777)
    assert box.run("touch", "/mapped/new").code == 0
    info = (source / "new").stat()
    assert (info.st_uid, info.st_gid) == (1000, 1000)


def test_mappings_without_the_word_are_a_mapping_too(box: Box) -> None:
    mapping = [{"containerID": 0, "hostID": 9, "size": 1}]
    box.mount("/mapped", "bind", "/etc", "rbind")
    box.config["mounts"][-1] |= {"uidMappings": mapping, "gidMappings": mapping}
    assert box.run("stat", "-c", "%u %g", "/mapped/hostname").lines == ["9 9"]


@pytest.mark.parametrize(("option", "below"), [("idmap", "0"), ("ridmap", "9")])
def test_mapped_owners_on_one_mount_or_on_all_below(box: Box, option: str, below: str) -> None:
    with tree(box) as source:
        box.mount("/m", "bind", str(source), "rbind", option)
        mapping = [{"containerID": 0, "hostID": 9, "size": 1}]
        box.config["mounts"][-1] |= {"uidMappings": mapping, "gidMappings": mapping}
        assert box.run("stat", "-c", "%u", "/m", "/m/below").lines == ["9", below]


def test_the_containers_user_namespace_lends_its_mapping(box: Box) -> None:
    """So a volume that belongs to the host's root belongs to the container's, without changing a file."""
    map_root(box, 100000)
    source = box.directory / "data"
    source.mkdir()
    box.mount("/plain", "bind", str(source), "bind")
    box.mount("/mapped", "bind", str(source), "bind", "idmap")
    assert box.run("stat", "-c", "%u", "/plain", "/mapped").lines == ["65534", "0"]


def test_what_cannot_be_mapped_is_one_sentence(box: Box) -> None:
    mapping = [{"containerID": 0, "hostID": 9, "size": 1}]
    box.mount("/m", "bind", "/proc", "bind", "idmap")
    box.config["mounts"][-1] |= {"uidMappings": mapping, "gidMappings": mapping}
    with pytest.raises(LaunchError, match='error mounting "/proc" to rootfs at "/m": mount_setattr /proc: invalid arg'):
        box.create()


def test_a_source_that_only_the_hosts_root_may_walk_to(box: Box) -> None:
    """In a user namespace the source is opened by the runtime, not by the namespace's root."""
    map_root(box, 100000)
    closed = box.directory / "closed"
    (closed / "data").mkdir(parents=True)
    (closed / "data/file").write_text("seen")
    closed.chmod(0o700)
    box.mount("/data", "bind", str(closed / "data"), "rbind")
    assert box.run("cat", "/data/file").out == "seen"


# What a document must not do to /proc.


@pytest.mark.parametrize("inside", ["/proc/sys/kernel", "/proc/1", "/proc/self/attr", "/proc/version"])
def test_nothing_is_mounted_inside_proc(box: Box, inside: str) -> None:
    """CVE-2019-16884: a mount over /proc/self/attr swallows the security label."""
    kind = "/etc/hostname" if inside.endswith("version") else "/etc"
    box.mount(inside, "bind", kind, "bind")
    with pytest.raises(LaunchError, match=f'"{inside}" cannot be mounted because it is inside /proc'):
        box.create()


def test_files_that_tools_stand_in_for_may_be_mounted(box: Box) -> None:
    (box.directory / "uptime").write_text("1.0 1.0\n")
    box.mount("/proc/uptime", "bind", "uptime", "bind", "ro")
    assert box.run("cat", "/proc/uptime").out == "1.0 1.0\n"


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_proc_is_nothing_but_proc(box: Box, kind: str) -> None:
    box.config["mounts"] = [m for m in box.config["mounts"] if m["destination"] != "/proc"]
    box.mount("/proc", kind, "/etc" if kind == "bind" else "tmpfs")
    with pytest.raises(LaunchError, match='"/proc" cannot be mounted because it is not of type proc'):
        box.create()


def test_a_link_to_proc_is_proc(box: Box) -> None:
    (box.root / "alias").symlink_to("proc/sys")
    box.mount("/alias", "tmpfs", "tmpfs")
    with pytest.raises(LaunchError, match='"/alias" cannot be mounted because it is inside /proc'):
        box.create()


# Control groups.


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_the_cgroup_mount(box: Box, mode: str, namespace: bool) -> None:
    """Its own groups and nothing above them, with a cgroup namespace or without; writable only if asked for."""
    if not namespace:
        box.without_namespace("cgroup")
    mount = next(m for m in box.config["mounts"] if m["type"] == "cgroup")
    mount["options"] = ["nosuid", "noexec", "nodev", mode]
    box.process["args"] = ["true"]
    view = next(v for v in registry.detect().views(box.cgroup) if v.fstype == "cgroup" or not v.name)
    group = f"/sys/fs/cgroup/{view.name}".rstrip("/")
    out = box.run(script=f"cat {group}/cgroup.procs; mkdir {group}/mine && rmdir {group}/mine && echo made")
    assert out.lines[0] == "1"
    assert ("made" in out.lines) == (mode == "rw")
    assert ("Read-only file system" in out.out) == (mode == "ro")


# The rest of the root.


def test_no_pivot_moves_the_root_and_leaves_no_unmasked_proc(box: Box) -> None:
    """runc's --no-pivot, for hosts whose root is a ramfs."""
    box.process["args"] = ["sh", "-c", "ls / ; grep -c ' - proc ' /proc/self/mountinfo; ls -d /tmp/ground-test-*"]
    with Streams() as streams:
        created = box.create(streams.child, pivot=False)
        created.start()
        out = streams.read()
        reap(created)
    box.delete()
    assert {"bin", "proc", "dev"} <= set(out.split())
    assert "No such file" in out
    ours = ["/proc", *(path for path in box.linux["readonlyPaths"] if os.path.exists(path))]
    assert int(next(line for line in out.splitlines() if line.isdecimal())) == len(ours)


@pytest.mark.parametrize("kind", ["rshared", "rslave", "rprivate", "runbindable"])
def test_the_roots_propagation_and_that_of_all_mounts(box: Box, kind: str) -> None:
    box.linux["rootfsPropagation"] = kind
    lines = {line.split()[4]: line for line in box.run("cat", "/proc/self/mountinfo").lines}
    for place in ("/", "/dev"):
        tags = [word.partition(":")[0] for word in lines[place].split(" - ")[0].split()[6:]]
        assert tags == {"rshared": ["shared"], "runbindable": ["unbindable"]}.get(kind, [])


@pytest.mark.parametrize("option", ["", "idmap"])
def test_flags_of_the_hosts_mount_stay_in_a_user_namespace(box: Box, option: str) -> None:
    """mount_namespaces(7): what a less privileged namespace gets locked, its root cannot clear; mapped or not."""
    map_root(box, 100000)
    with tree(box) as source:
        subprocess.run(["mount", "-o", "remount,bind,ro,nosuid,nodev", str(source)], check=True)
        box.mount("/m", "bind", str(source), "rbind", *([option] if option else []))
        for kind in ("bounding", "permitted", "effective"):
            box.process["capabilities"][kind] = ["CAP_SYS_ADMIN"]
        out = box.run(script="mount -o remount,bind,rw /m; touch /m/x; grep ' /m ' /proc/self/mountinfo").out
    assert "ermission denied" in out or "not permitted" in out
    assert " /m ro,nosuid,nodev" in out
