"""The runtime's command line without containers: words, values, merged limits, statistics, features."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.base.errors import GroundError, UsageError
from groundplane.kernel.cgroups.usage import Amount, Cpu, Io, Memory, Pressure, Usage
from groundplane.oci.runtime import read_config
from groundplane.oci.runtime_resources import read_resources
from groundplane.runtime import arguments, commands, help, statistics
from groundplane.runtime.arguments import MANY, NUMBER, SWITCH, VALUE, Flags
from groundplane.runtime.resources import cgroup_owner, limits_of, notices_of
from groundplane.runtime.verbs.creation import cgroup_path
from groundplane.runtime.verbs.events import duration
from groundplane.runtime.verbs.exec import sub_groups
from groundplane.runtime.verbs.features import document
from groundplane.runtime.verbs.ps import select
from groundplane.runtime.verbs.update import merged, size_of

FLAGS = Flags({"force": SWITCH, "name": VALUE, "many": MANY, "count": NUMBER}, {"f": "force", "n": "name"})


@pytest.mark.parametrize(
    ("words", "mixed", "left"),
    [
        (["-f", "a"], False, ["a"]),
        (["a", "-f"], False, ["a", "-f"]),
        (["a", "-f"], True, ["a"]),
        (["-name=x", "--many", "1", "-many=2", "--", "-f"], True, ["-f"]),
        (["--count=-3", "-"], False, ["-"]),
    ],
)
def test_flags(words: list[str], mixed: bool, left: list[str]) -> None:
    assert arguments.parse(words, FLAGS, mixed=mixed).words == left


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--name"], "flag needs an argument: -name"),
        (["--count", "x"], 'invalid value "x" for flag -count: parse error'),
        (["--force=maybe"], 'invalid boolean value "maybe" for -force: parse error'),
    ],
)
def test_wrong_flags(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.parse(words, FLAGS)
    assert str(caught.value) == sentence


def test_every_verb_has_its_help() -> None:
    text = help.of_all()
    for name, verb in commands.VERBS.items():
        assert f"   {name:<11} " in text
        page = help.of_verb(name)
        if name not in ("checkpoint", "restore"):  # whose options are CRIU's
            for flag in set(verb.flags.kinds) - {"help", "kernel-memory", "kernel-memory-tcp"}:
                assert f"--{flag}" in page, (name, flag)


@pytest.mark.parametrize(("text", "rootless"), [("true", True), ("0", False), ("1", True), ("FALSE", False)])
def test_rootless(text: str, rootless: bool) -> None:
    assert commands.rootless_of(text) is rootless


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("-1", -1),
        ("100", 100),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("64 MiB", 64 << 20),
        ("1.5G", 3 << 29),
        ("10b", 10),
        ("2t", 2 << 40),
        ("m", None),
        ("", None),
        ("5x", None),
        ("-5", None),
        ("1.g", None),
        ("5 m b", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("100ms", 0.1), ("1.5h", 5400), ("-1s", -1), ("0", 0), (".5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "1s2", "abc", "1d"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UsageError, match="for flag -interval: parse error"):
        duration(text)


def test_ps_selects_by_the_pid_column() -> None:
    output = "UID        PID  PPID CMD\nroot         7     1 init\nroot        17     7 9\nroot 9 7 x\n"
    assert select(output, [7, 9]) == ["UID        PID  PPID CMD", "root         7     1 init", "root 9 7 x"]
    with pytest.raises(GroundError, match="couldn't find PID field in ps output"):
        select("COMMAND\ninit", [7])


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ({}, {"cpu": {"quota": 5}}, {"cpu": {"quota": 5}}),
        ({"cpu": {"quota": 5, "period": 7}}, {"cpu": {"period": 8}}, {"cpu": {"quota": 5, "period": 8}}),
        ({"memory": {"limit": 5, "swap": 9}}, {"memory": {"limit": -1}}, {"memory": {"limit": -1, "swap": -1}}),
        ({"memory": {"swap": 9}}, {"memory": {"limit": -1, "swap": 3}}, {"memory": {"limit": -1, "swap": 3}}),
        ({"devices": [1]}, {"devices": [2], "memory": None}, {"devices": [1]}),
        ({"hugepageLimits": [1]}, {"hugepageLimits": [2]}, {"hugepageLimits": [2]}),
        ({"unified": {"a.b": "1"}}, {"unified": {"c.d": "2"}}, {"unified": {"a.b": "1", "c.d": "2"}}),
    ],
)
def test_updates_are_merged(before: dict[str, Any], wanted: dict[str, Any], after: dict[str, Any]) -> None:
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in before.items()}
    assert merged(before, wanted) == after
    assert before == copy, "the argument stays as it was"


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"memory": {"swappiness": 101}}, r"invalid memory swappiness value: 101 \(valid range is 0-100\)"),
        ({"cpu": {"shares": 1}}, "the minimum allowed cpu-shares is 2"),
        ({"cpu": {"shares": 262145}}, "the maximum allowed cpu-shares is 262144"),
    ],
)
def test_values_that_no_kernel_takes(resources: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GroundError, match=sentence):
        limits_of(read_resources(resources))


def test_resources_become_limits() -> None:
    limits = limits_of(
        read_resources(
            {
                "memory": {"limit": 5, "swappiness": 2**64 - 1, "checkBeforeUpdate": True, "disableOOMKiller": False},
                "pids": {"limit": 0},
                "blockIO": {"weightDevice": [{"major": 8, "minor": 1, "leafWeight": 10}]},
                "rdma": {"mlx4_0": {"hcaObjects": 3}},
                "network": {"classID": 0},
            }
        )
    )
    assert (limits.memory, limits.memory_check, limits.swappiness, limits.pids) == (5, True, None, None)
    assert limits.blkio_weight_devices == [(8, 1, None, 10)]
    assert limits.rdma == [("mlx4_0", None, 3)]
    assert limits.net_classid is None
    assert notices_of(read_resources({"memory": {"kernel": 5}})) == [
        "Kernel memory settings are ignored and will be removed"
    ]


MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
OWN = [{"type": "cgroup"}]


@pytest.mark.parametrize(
    ("namespaces", "mounts", "owner"),
    [
        (OWN, [MOUNT], 7),
        (OWN, [{**MOUNT, "options": ["ro"]}], None),
        (OWN, [], None),
        ([], [MOUNT], None),
        ([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}], [MOUNT], None),
        ([*OWN, {"type": "user"}], [MOUNT], 1007),
    ],
)
def test_who_owns_the_cgroup(namespaces: list[Any], mounts: list[Any], owner: int | None) -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    linux = {"namespaces": namespaces, "uidMappings": mapping if len(namespaces) == 2 else []}
    document = {"ociVersion": "1.2.0", "process": {"user": {"uid": 7}}, "mounts": mounts, "linux": linux}
    assert cgroup_owner(read_config(document)) == owner


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/a/b", "a/b"),
        ("a/b", "a/b"),
        ("", "id"),
        (None, "id"),
        ("/", "id"),
        ("/../../x", "x"),
        ("../x", "x"),
        ("/a/../../b/./c//d", "b/c/d"),
    ],
)
def test_cgroup_paths_stay_below_the_root(given: str | None, path: str) -> None:
    assert cgroup_path({"linux": {"cgroupsPath": given}}, "id") == path


@pytest.mark.parametrize(
    ("arguments", "below"),
    [
        ([], None),
        (["/"], {"": ""}),
        (["sub"], {"": "sub"}),
        (["cpu,memory:sub/one", "pids:/two"], {"cpu": "sub/one", "memory": "sub/one", "pids": "two"}),
    ],
)
def test_sub_groups(arguments: list[str], below: dict[str, str] | None) -> None:
    assert sub_groups(arguments) == below


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a:b:c"], "invalid --cgroup argument: a:b:c"),
        (["a", "cpu:b"], r"invalid --cgroup argument: a \(missing <controller>: prefix\)"),
        (["../x"], "../x is not a sub cgroup path"),
    ],
)
def test_wrong_sub_groups(arguments: list[str], sentence: str) -> None:
    with pytest.raises(GroundError, match=sentence):
        sub_groups(arguments)


def test_statistics_leave_out_what_go_leaves_out() -> None:
    empty = statistics.document(Usage())
    assert empty["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert empty["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert (empty["pids"], empty["blkio"], empty["hugetlb"], empty["intel_rdt"]) == ({}, {}, {}, {})
    assert empty["network_interfaces"] is None


def test_statistics() -> None:
    usage = Usage()
    usage.cpu = Cpu(9, 5, 4)
    usage.cpu.pressure = {"some": Pressure(0.5, 0.25, 0.1, 12)}
    usage.cpuset = {"cpus": "0-2,5", "mems": "0", "sched_relax_domain_level": "-1"}
    usage.memory = Memory()
    usage.memory.used = Amount(100, 1000, 200, 3)
    usage.io = Io()
    usage.io.tables = {"serviced": [(8, 0, "Read", 1)]}
    usage.hugetlb = {"2MB": Amount(5, 9, 6, 7)}
    usage.pids, usage.pids_limit = 3, 10
    data = statistics.document(usage)
    assert data["cpu"]["usage"] == {"total": 9, "kernel": 4, "user": 5}
    assert data["cpu"]["psi"] == {"some": {"avg10": 0.5, "avg60": 0.25, "avg300": 0.1, "total": 12}}
    assert (data["cpuset"]["cpus"], data["cpuset"]["mems"]) == ([0, 1, 2, 5], [0])
    assert data["memory"]["usage"] == {"limit": 1000, "usage": 100, "max": 200, "failcnt": 3}
    assert data["blkio"] == {"ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}]}
    assert data["hugetlb"] == {"2MB": {"usage": 5, "max": 6, "failcnt": 7}}
    assert data["pids"] == {"current": 3, "limit": 10}


def test_features_name_what_is_known() -> None:
    features = document()
    assert features["ociVersionMax"] == commands.SPEC_VERSION
    assert "createContainer" in features["hooks"]
    assert {"bind", "rro", "idmap", "tmpcopyup", "rslave"} <= set(features["mountOptions"])
    linux = features["linux"]
    assert set(linux["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
    assert len(linux["capabilities"]) == 41
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
