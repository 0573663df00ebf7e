"""From a container's specification to OCI's document: docker's rules, one row each."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from groundplane.engine.containers import names, oci_config, users
from groundplane.engine.containers.defaults import CAPABILITIES
from groundplane.engine.containers.devices import passed_devices
from groundplane.engine.containers.life import signal_number
from groundplane.engine.containers.oci_config import Place
from groundplane.engine.containers.seccomp import linux_seccomp
from groundplane.engine.containers.states import IllegalMove, move
from groundplane.engine.containers.users import NoSuchUser, Who
from groundplane.engine.contract import BadParameter, ContainerSpec, Mount, Resources, Security, State

IMAGE = {"Entrypoint": ["entry"], "Cmd": ["cmd"], "Env": ["A=image", "PATH=/image"], "WorkingDir": "/work"}
PLACE = Place("i" * 64, "host", "/root", "group/i", {"mount": "", "uts": "", "network": "/pin/net"})


def build(who: Who | None = None, **options: Any) -> dict[str, Any]:
    return oci_config.build(ContainerSpec(image="x", **options), IMAGE, who or Who(), PLACE)


@pytest.mark.parametrize(
    ("entrypoint", "args", "expected"),
    [
        (None, None, ["entry", "cmd"]),
        (None, ["a"], ["entry", "a"]),
        (None, [], ["entry", "cmd"]),
        (["e"], None, ["e"]),
        (["e"], ["a", "b"], ["e", "a", "b"]),
        (["e"], [], ["e"]),
    ],
)
def test_which_of_entrypoint_and_command_replaces_which(
    entrypoint: list[str] | None, args: list[str] | None, expected: list[str]
) -> None:
    assert build(entrypoint=entrypoint, args=args)["process"]["args"] == expected


def test_the_environment_s_later_word_wins() -> None:
    process = build(Who(1000, 1000, (1000,), "/home/u"), env={"A": "spec", "B": "2"}, tty=True)["process"]
    assert process["env"] == ["PATH=/image", "HOSTNAME=host", "TERM=xterm", "A=spec", "B=2", "HOME=/home/u"]
    assert process["cwd"] == "/work"
    assert build(working_dir="/w")["process"]["cwd"] == "/w"


@pytest.mark.parametrize(
    ("security", "added", "dropped"),
    [
        (Security(), set(), set()),
        (Security(cap_add=("sys_time",)), {"CAP_SYS_TIME"}, set()),
        (Security(cap_drop=("CAP_KILL",)), set(), {"CAP_KILL"}),
        (
            Security(cap_drop=("ALL",), cap_add=("NET_BIND_SERVICE",)),
            set(),
            set(CAPABILITIES) - {"CAP_NET_BIND_SERVICE"},
        ),
    ],
)
def test_capabilities(security: Security, added: set[str], dropped: set[str]) -> None:
    sets = build(security=security)["process"]["capabilities"]
    assert set(sets["bounding"]) == (set(CAPABILITIES) | added) - dropped
    assert sets["effective"] == sets["permitted"] == sets["bounding"]


def test_a_user_who_is_not_root_holds_no_capability() -> None:
    sets = build(Who(1000, 1000))["process"]["capabilities"]
    assert set(sets) == {"bounding"}


def test_a_privileged_container_has_everything() -> None:
    linux = build(security=Security(privileged=True))["linux"]
    assert "seccomp" not in linux
    assert linux["maskedPaths"] == linux["readonlyPaths"] == []
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert any(device["path"] == "/dev/null" for device in linux["devices"])


def test_mounts_of_one_s_own_replace_the_usual_and_come_parents_first() -> None:
    document = build(
        mounts=[
            Mount("/a/b/c", "/src", read_only=True, propagation="rslave"),
            Mount("/a", "", type="tmpfs", options=("size=1m",)),
            Mount("/dev/shm", "/mine"),
        ]
    )
    by_place = {mount["destination"]: mount for mount in document["mounts"]}
    assert by_place["/dev/shm"] == {
        "destination": "/dev/shm", "type": "bind", "source": "/mine", "options": ["rbind", "rprivate"],
    }  # fmt: skip
    assert by_place["/a/b/c"]["options"] == ["rbind", "rslave", "ro"]
    assert by_place["/a"] == {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}
    places = [mount["destination"] for mount in document["mounts"]]
    assert places.index("/a") < places.index("/a/b/c")
    assert len(places) == len(set(places))


def test_limits_and_namespaces() -> None:
    linux = build(
        resources=Resources(
            cpu_shares=512, cpu_quota=50_000, cpu_period=100_000, memory=1 << 20, pids=9, oom_score_adj=-5
        ),
        ulimits={"nofile": (10, 20), "core": (-1, -1)},
    )
    assert linux["linux"]["resources"]["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert linux["linux"]["resources"]["memory"] == {"limit": 1 << 20}
    assert linux["linux"]["resources"]["pids"] == {"limit": 9}
    assert linux["process"]["oomScoreAdj"] == -5
    assert linux["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]
    assert linux["linux"]["namespaces"] == [
        {"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/pin/net"},
    ]  # fmt: skip
    assert linux["hostname"] == "host"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"security": Security(cap_add=("FLY",))}, 'invalid capability: "CAP_FLY"'),
        ({"mounts": [Mount("x", "/a")]}, "mount path must be absolute"),
        ({"mounts": [Mount("/x", "a")]}, "must be an absolute path of this host"),
        ({"mounts": [Mount("/x", "/a", propagation="both")]}, "invalid propagation mode: both"),
        ({"ulimits": {"x": (1, 1)}}, "invalid ulimit type: x"),
        ({"ulimits": {"core": (2, 1)}}, "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        ({"init": True}, "not offered yet"),
    ],
)
def test_bad_requests(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        build(**options)


def test_devices_are_looked_up_and_ruled() -> None:
    (device,) = passed_devices(["/dev/null:/dev/mine:r"])
    assert device.node["path"] == "/dev/mine" and (device.node["major"], device.node["minor"]) == (1, 3)
    assert device.rule == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}
    with pytest.raises(BadParameter, match="no such file or directory"):
        passed_devices(["/dev/nonesuch"])
    with pytest.raises(BadParameter, match="invalid device mode"):
        passed_devices(["/dev/null:/dev/null:x"])


def allowed(profile: dict[str, Any] | None, call: str) -> bool:
    assert profile is not None
    return any(
        call in r["names"] and r["action"] == "SCMP_ACT_ALLOW" and not r.get("args") for r in profile["syscalls"]
    )


def test_the_default_filter_follows_the_capabilities() -> None:
    usual = linux_seccomp(None, CAPABILITIES, privileged=False)
    assert allowed(usual, "read") and allowed(usual, "chroot")
    assert not any(allowed(usual, call) for call in ("mount", "clone", "clone3", "bpf", "io_uring_setup", "reboot"))
    admin = linux_seccomp(None, [*CAPABILITIES, "CAP_SYS_ADMIN"], privileged=False)
    assert allowed(admin, "mount") and allowed(admin, "clone")
    assert not allowed(linux_seccomp(None, [], privileged=False), "chroot")
    assert linux_seccomp("unconfined", [], privileged=False) is None
    assert linux_seccomp(None, [], privileged=True) is None


def test_a_profile_in_docker_s_format_is_translated() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"name": "write", "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        ],
    }  # fmt: skip
    result = linux_seccomp(json.dumps(profile), [], privileged=False)
    assert result is not None
    assert [rule["names"] for rule in result["syscalls"]] == [["read"], ["write"], ["clone"]]
    assert len(result["architectures"]) >= 1
    with pytest.raises(BadParameter, match="opening seccomp profile failed"):
        linux_seccomp("[]", [], privileged=False)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:100:U:/home/u:/bin/sh\nx:x:notanumber:1::/:\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nusers:x:100:\naudio:x:29:u,other\nvideo:x:44:other\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("user", "further", "expected"),
    [
        ("", (), Who(0, 0, (0,), "/root")),
        ("u", (), Who(1000, 100, (100, 29), "/home/u")),
        ("1000", (), Who(1000, 100, (100, 29), "/home/u")),
        ("u:audio", (), Who(1000, 29, (29,), "/home/u")),
        ("u:7", (5, 7), Who(1000, 7, (7, 5), "/home/u")),
        ("4242", (), Who(4242, 0, (0,), "/")),
        ("4242:100", (), Who(4242, 100, (100,), "/")),
    ],
)
def test_users_are_found_in_the_container_s_own_files(
    root: str, user: str, further: tuple[int, ...], expected: Who
) -> None:
    assert users.resolve(root, user, further) == expected


@pytest.mark.parametrize("user", ["nobody", "u:nogroup", "99999999999"])
def test_unknown_users_are_told_as_docker_does(root: str, user: str) -> None:
    with pytest.raises(NoSuchUser, match=r"unable to find|uids and gids must be in range"):
        users.resolve(root, user)


def test_hostile_passwd_files_reach_nothing_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("../../../../../../../../etc/passwd")
    os.mkfifo(tmp_path / "etc/group")
    assert users.resolve(str(tmp_path), "") == Who(0, 0, (0,), "/root")
    with pytest.raises(NoSuchUser):
        users.resolve(str(tmp_path), "daemon:users")


def test_states_move_by_their_table_only() -> None:
    assert move("c", State.CREATED, "start") is State.RUNNING
    assert move("c", State.RUNNING, "end") is State.EXITED
    assert move("c", State.EXITED, "start") is State.RUNNING
    with pytest.raises(IllegalMove, match=r"container c cannot go from created to exited \(end\)"):
        move("c", State.CREATED, "end")


def test_generated_names_are_free() -> None:
    taken: set[str] = set()
    for _ in range(300):
        name = names.generate(taken)
        assert name not in taken and name.replace("_", "").isalnum()
        taken.add(name)


@pytest.mark.needs("root")
def test_a_device_in_the_place_of_passwd_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    nobody_s = os.makedev(10, 255)  # a misc device that can never be (linux/miscdevice.h): opening it is an error
    os.mknod(tmp_path / "etc/passwd", 0o666 | stat.S_IFCHR, nobody_s)
    os.mkfifo(tmp_path / "etc/group")
    assert users.resolve(str(tmp_path), "7:8") == Who(7, 8, (8,), "/")


def test_lines_with_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("a:x:\u00b2:0::/a:/bin/sh\nb:x:5:\u00b3::/b:/bin/sh\n")
    assert users.resolve(str(tmp_path), "b") == Who(5, 0, (0,), "/b")
    with pytest.raises(NoSuchUser):
        users.resolve(str(tmp_path), "a")


def test_signals_by_name_and_number() -> None:
    for text, number in (("TERM", 15), ("sigint", 2), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("RTMIN", 34)):
        assert signal_number(text) == number
    for text in ("", "0", "65", "SIGRTMIN+40", "RTMAX-64", "TERM+5", "RTMIN+-1", "NONE"):
        with pytest.raises(BadParameter, match="Invalid signal"):
            signal_number(text)


def test_a_working_directory_is_absolute() -> None:
    with pytest.raises(BadParameter, match="the working directory 'there' is invalid, it needs to be an absolute path"):
        build(working_dir="there")
