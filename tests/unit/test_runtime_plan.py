"""The runtime's plans: steps in the order that rights allow, mount options, programs, limits, command-line flags."""

from __future__ import annotations

import os
from typing import Any

import pytest

from groundplane.base.errors import GroundError, UsageError
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls import process as p
from groundplane.oci.runtime import RuntimeDocumentError, read_config
from groundplane.runtime import arguments, options, talk
from groundplane.runtime.documents import decode
from groundplane.runtime.plan import Host, Plan, plan_container
from groundplane.runtime.program import ProgramError, environment
from groundplane.runtime.resources import limits_of
from groundplane.runtime.steps.namespaces import sysctl_name
from groundplane.runtime.validate import BadConfig, validate
from groundplane.runtime.verbs.creation import cgroup_path
from groundplane.runtime.verbs.kill import signal_number
from groundplane.runtime.verbs.spec import example

HOST = Host(permitted=(1 << 41) - 1, last_capability=40)


def plan(config: dict[str, Any], **options: Any) -> Plan:
    document = read_config(config)
    validate(document)
    given = {"console": False, "seccomp": None, **options}
    return plan_container(document, HOST, id="c", bundle="/b", root="/b/rootfs", views=(), **given)


def order(plan: Plan) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


def test_the_usual_order() -> None:
    names = order(plan(example()))
    assert names[:2] == ["NewSession", "PrepareRoot"]
    assert names.index("MountFilesystem") < names.index("MakeDevices") < names.index("PivotRoot")
    assert names.index("PivotRoot") < names.index("FinishRoot") < names.index("MaskPaths") < names.index("BecomeUser")
    assert names[-2:] == ["BecomeUser", "SetCapabilities"]
    assert all(step.describe() for step in plan(example()).steps)


def test_the_filter_comes_last_with_no_new_privileges_and_before_the_capabilities_go_without() -> None:
    config = example()
    assert order(plan(config, seccomp=(b"", 0)))[-3:] == ["BecomeUser", "SetCapabilities", "InstallSeccomp"]
    config["process"]["noNewPrivileges"] = False
    assert order(plan(config, seccomp=(b"", 0)))[-3:] == ["BecomeUser", "InstallSeccomp", "SetCapabilities"]


def test_hooks_have_their_places() -> None:
    config = example()
    hook = [{"path": "/bin/true"}]
    config["hooks"] = {"prestart": hook, "createContainer": hook, "startContainer": hook}
    made = plan(config)
    names = order(made)
    assert names.index("AskForHooks") + 1 == names.index("RunHooks") < names.index("PivotRoot")
    assert made.start_hooks is not None


def test_a_cgroup_namespace_is_entered_late_and_others_with_the_clone() -> None:
    made = plan(example())
    assert made.clone_flags == p.CLONE_NEWPID | p.CLONE_NEWIPC | p.CLONE_NEWUTS | p.CLONE_NEWNS
    config = example()
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "cgroup"]
    assert "NewCgroupNamespace" in order(plan(config))


def test_outside_makes_the_network_namespace_for_those_mounts_that_show_it_or_wait() -> None:
    made = plan(example())
    assert made.new_network
    mounts = [step.describe() for step in made.steps if type(step).__name__ in ("MountFilesystem", "EnterNetwork")]
    assert mounts[-2:] == ["entering the new network namespace", 'mounting "sysfs" to rootfs at "/sys"']
    config = example()
    config["mounts"] = [one for one in config["mounts"] if one["type"] not in ("sysfs", "cgroup")]
    names = order(plan(config))
    assert names.index("EnterNetwork") + 1 == names.index("NewCgroupNamespace")


def test_a_user_namespace_first_and_the_others_in_it() -> None:
    config = example()
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 1, "size": 1}]
    made = plan(config)
    assert made.clone_flags == p.CLONE_NEWUSER | p.CLONE_NEWPID
    assert order(made)[0] == "BecomeMapped"
    assert "RaiseLoopback" in order(made) and not made.new_network, "the network namespace is to be owned by it"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("root"), "root must be specified"),
        (lambda c: c["process"].update(args=[]), "args must not be empty"),
        (lambda c: c["process"].update(cwd="a"), "Cwd must be an absolute path"),
        (lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_X"}]), "invalid rlimit type: RLIMIT_X"),
        (lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_CPU"}] * 2), "given twice"),
        (lambda c: c["linux"]["namespaces"].append({"type": "pid"}), 'duplicated ns "pid"'),
        (lambda c: c["linux"]["namespaces"].append({"type": "user"}), "no uid mappings found"),
        (lambda c: c["linux"].update(uidMappings=[{"size": 1}]), "user namespace isn't enabled"),
        (lambda c: c["linux"].update(timeOffsets={"boottime": {"secs": 1}}), "time namespace isn't enabled"),
        (lambda c: (c.pop("hostname"), c["linux"].update(namespaces=[])), "without a private MNT namespace"),
        (lambda c: c["linux"].update(sysctl={"vm.swappiness": "1"}), "is not in a separate kernel namespace"),
        (lambda c: c["linux"].update(sysctl={"kernel.hostname": "x"}), 'conflicts with the OCI "hostname" field'),
        (lambda c: c["linux"].update(rootfsPropagation="sideways"), "rootfsPropagation=sideways"),
        (lambda c: c["linux"].update(maskedPaths=["proc"]), "must be absolute"),
        (lambda c: c["linux"].update(intelRdt={}), "Intel RDT is not supported"),
        (lambda c: c["process"].update(env=["x"]), 'invalid environment variable: "x"'),
        (lambda c: c["mounts"].append({"destination": "/x"}), "neither a type nor the option bind"),
        (lambda c: c["mounts"].append({"destination": "/x", "type": "bind"}), "needs a source"),
        (
            lambda c: c["mounts"].append({"destination": "/x", "source": "/", "options": ["bind", "idmap"]}),
            "id-mapped mounts without mappings of their own need a user namespace",
        ),
        (
            lambda c: c["mounts"].append({"destination": "/x", "type": "tmpfs", "options": ["idmap"]}),
            "only supported for bind-mounts",
        ),
        (
            lambda c: c["mounts"].append(
                {"destination": "/x", "type": "bind", "source": "/", "uidMappings": [{"size": 1}]}
            ),
            "both uidMappings and gidMappings",
        ),
        (lambda c: c["process"].update(scheduler={"policy": "SCHED_WISH"}), "invalid scheduler policy: 'SCHED_WISH'"),
        (lambda c: c["process"].update(scheduler={"policy": "SCHED_BATCH", "flags": ["X"]}), "scheduler flag: 'X'"),
        (lambda c: c["process"].update(scheduler={"policy": "SCHED_BATCH", "priority": 3}), "SchedFIFO or SchedRR"),
        (lambda c: c["process"].update(scheduler={"policy": "SCHED_RR", "runtime": 3}), "SchedDeadline policy"),
        (lambda c: c["process"].update(ioPriority={"class": "IOPRIO_CLASS_X"}), "invalid ioPriority.Class"),
        (lambda c: c["linux"].update(personality={"domain": "BSD"}), "invalid personality domain BSD"),
        (
            lambda c: (
                c["linux"]["namespaces"].append({"type": "time"}),
                c["linux"].update(timeOffsets={"realtime": {"secs": 1}}),
            ),
            "only boottime and monotonic",
        ),
    ],
)
def test_contradictions_are_one_sentence(change: Any, sentence: str) -> None:
    config = example()
    change(config)
    with pytest.raises((BadConfig, ProgramError)) as caught:
        plan(config)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "config.json: an object is expected, not a list"),
        ({}, "config.json: ociVersion: must not be empty"),
        ({"ociVersion": 1}, "config.json: ociVersion: a string is expected, not a whole number"),
        (
            {"ociVersion": "1", "process": {"args": ["a", True]}},
            "process.args[1]: a string is expected, not true or false",
        ),
        ({"ociVersion": "1", "linux": {"seccomp": {}}}, "linux.seccomp.defaultAction: must not be empty"),
        ({"ociVersion": "1", "process": {"user": {"uid": -1}}}, "process.user.uid: -1 is not between 0 and 4294967295"),
        ({"ociVersion": "1", "process": {"cwd": "a\0b"}}, "process.cwd: a NUL byte is not allowed"),
        ({"ociVersion": "1", "annotations": {"a": 1}}, "annotations['a']: a string is expected"),
        ({"ociVersion": "1", "hooks": {"prestart": [{"path": "x"}]}}, "hooks.prestart[0].path: an absolute path"),
    ],
)
def test_wrong_types_name_the_member(document: Any, sentence: str) -> None:
    with pytest.raises(RuntimeDocumentError) as caught:
        read_config(document)
    assert sentence in str(caught.value)


def test_null_is_absent() -> None:
    config = read_config({"ociVersion": "1.2.0", "process": None, "linux": {"resources": None, "namespaces": None}})
    assert config.process is None
    assert config.linux.resources is None


def test_capabilities_are_those_we_can_give() -> None:
    config = example()
    config["process"]["capabilities"] = {"permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_X"], "ambient": ["CAP_KILL"]}
    document = read_config(config)
    host = Host(permitted=1 << 5, last_capability=40)  # CAP_KILL alone
    made = plan_container(document, host, id="c", bundle="/b", root="/r", views=(), console=False)
    sets = made.steps[-1].sets  # type: ignore[attr-defined]
    assert sets.permitted == 1 << 5
    assert sets.ambient == 0, "it is not inheritable"
    assert made.warnings == [
        "ignoring unknown or unavailable capabilities: ['CAP_X']",
        "this host cannot give CAP_CHOWN: the container runs without",
        "can't raise ambient capability CAP_KILL: operation not permitted",
    ]


# Options.


def test_later_options_win() -> None:
    parsed = options.parse(["ro", "rw", "nosuid", "size=1m", "suid"])
    assert parsed.set == 0
    assert parsed.clear == m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID
    assert parsed.data == ["size=1m"]


def test_access_times_are_one_field() -> None:
    parsed = options.parse(["noatime", "strictatime"])
    assert parsed.set == m.MOUNT_ATTR_STRICTATIME
    assert parsed.clear & m.MOUNT_ATTR__ATIME


def test_what_is_recursive_and_what_is_not() -> None:
    parsed = options.parse(["rbind", "rro", "rprivate", "defaults"])
    assert (parsed.bind, parsed.recursive, parsed.recursive_set) == (True, True, m.MOUNT_ATTR_RDONLY)
    assert parsed.propagation == [(m.MS_PRIVATE, True)]
    assert parsed.data == []


def test_every_option_that_the_specification_lists_is_known() -> None:
    """config.md, "Linux mount options": none of them may reach a file system as an option of its own."""
    words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime "
    words += (
        "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
    )
    words += "rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
    words += "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw "
    words += "shared silent slave strictatime suid symfollow sync unbindable idmap ridmap tmpcopyup"
    assert options.parse(words.split()).data == []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
        ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
    ],
)
def test_sysctl_names_have_two_forms(key: str, name: str) -> None:
    assert sysctl_name(key) == name


# Small parts.


def test_the_environment_keeps_the_last_of_a_name() -> None:
    assert environment(["A=1", "B=x=y", "A=2", "C="]) == {"A": "2", "B": "x=y", "C": ""}


def test_every_container_may_use_its_default_devices_and_no_others() -> None:
    rules = limits_of(None).devices
    assert rules is not None
    assert str(rules[0]) == "a *:* rwm"
    assert not rules[0].allow
    assert "c 1:3 rwm" in [str(rule) for rule in rules if rule.allow]
    resources = read_config(
        {
            "ociVersion": "1",
            "linux": {"resources": {"devices": [{"allow": True, "major": 7, "access": "r"}], "pids": {"limit": 3}}},
        }
    ).linux.resources
    limits = limits_of(resources)
    assert limits.devices is not None
    assert [str(rule) for rule in limits.devices[1:3]] == ["b 7:* r", "c 7:* r"]
    assert limits.pids == 3


@pytest.mark.parametrize(
    ("given", "path"),
    [(None, "id"), ("", "id"), ("/a/b", "a/b"), ("a//b/", "a/b"), ("/./a", "a")],
)
def test_cgroups_path(given: str | None, path: str) -> None:
    assert cgroup_path({"linux": {"cgroupsPath": given}}, "id") == path


def test_cgroups_path_cannot_climb() -> None:
    assert cgroup_path({"linux": {"cgroupsPath": "/a/../../b"}}, "id") == "b"


@pytest.mark.parametrize(("text", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("usr1", 10), ("RTMIN+3", 37)])
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


def test_an_unknown_signal() -> None:
    with pytest.raises(GroundError, match='unknown signal "FOO"'):
        signal_number("FOO")


FLAGS = arguments.Flags(
    {"tty": arguments.SWITCH, "env": arguments.MANY, "cwd": arguments.VALUE}, {"t": "tty", "e": "env"}
)


def test_flags() -> None:
    given = arguments.parse(["-t", "--env", "A=1", "-e=B=2", "--cwd=/x", "id", "-t", "--", "x"], FLAGS)
    assert given.switch("tty")
    assert given.many("env") == ["A=1", "B=2"]
    assert given.value("cwd") == "/x"
    assert given.words == ["id", "-t", "--", "x"]
    assert not arguments.parse(["--tty=false"], FLAGS).switch("tty")
    mixed = arguments.parse(["id", "-t", "--", "-e"], FLAGS, mixed=True)
    assert mixed.switch("tty")
    assert mixed.words == ["id", "-e"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--no"], "flag provided but not defined: -no"), (["--cwd"], "flag needs an argument: -cwd")],
)
def test_wrong_flags(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        arguments.parse(words, FLAGS)


@pytest.mark.parametrize("text", ["", " ", "{", '{"a":}', "[1] 2", "nul", "NaN", '"\x01"', "[" * 100_000])
def test_what_is_no_json_is_one_sentence(text: str) -> None:
    with pytest.raises(GroundError, match="not a JSON document"):
        decode(text, "x")


def test_json() -> None:
    assert decode(' {"a": [1, 2.5, null, true, "\\u00e9"]}\n', "x") == {"a": [1, 2.5, None, True, "é"]}


def test_the_last_words_of_the_other_side_are_heard_even_if_it_did_not_listen() -> None:
    ours, theirs = talk.pair()
    ours.say("attached")
    theirs.say("error", "127 no such program")
    theirs.close()
    assert ours.hear() == ("error", "127 no such program")
    with pytest.raises(talk.Gone):
        ours.hear()
    ours.say("start")  # to nobody; not an error
    ours.close()
    ours, theirs = talk.pair()
    ours.say("attached")
    theirs.say("error", "1 x")
    theirs.close()
    assert ours.hear_with_fd() == ("error", "1 x", -1)
    ours.close()


def test_a_descriptor_comes_along() -> None:
    ours, theirs = talk.pair()
    read, write = os.pipe()
    theirs.say_with_fd("console", write)
    word, text, fd = ours.hear_with_fd()
    assert (word, text) == ("console", "")
    os.write(fd, b"x")
    assert os.read(read, 1) == b"x"
    assert not os.get_inheritable(fd)
    for one in (read, write, fd):
        os.close(one)
    ours.close()
    theirs.close()
