"""The seccomp compiler: programs run on an interpreter of classic BPF and are compared with the rules themselves."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.bpf import run

from groundplane.kernel.seccomp import filter as f
from groundplane.kernel.seccomp.compiler import AUDIT_ARCH, X32_BIT, compile_filter
from groundplane.kernel.seccomp.install import LISTENER
from groundplane.kernel.seccomp.tables import load
from groundplane.oci.runtime_linux import Seccomp
from groundplane.oci.runtime_reader import Reader
from groundplane.runtime.seccomp import SeccompError, compile_profile
from groundplane.runtime.seccomp import compiled as compiled_profile

X86_64, X86 = AUDIT_ARCH["x86_64"], AUDIT_ARCH["x86"]
EPERM = f.ERRNO | 1
NUMBERS = load("x86_64")


def action(program: bytes, name: str, *arguments: int, arch: str = "x86_64") -> int:
    return run(program, load(arch)[name], AUDIT_ARCH["x86_64" if arch == "x32" else arch], arguments)


def compiled(
    *rules: f.Rule, default: int = EPERM, arches: tuple[str, ...] = ("x86_64",), newer: int | None = None
) -> bytes:
    return compile_filter(f.Filter(arches, default, rules, newer))


def test_names_are_allowed_and_others_are_not() -> None:
    program = compiled(f.Rule(["read", "write", "exit_group"], f.ALLOW))
    assert action(program, "read") == f.ALLOW
    assert action(program, "exit_group") == f.ALLOW
    assert action(program, "open") == EPERM
    assert run(program, 99999, X86_64) == EPERM


def test_other_architectures_and_x32_end_the_process() -> None:
    program = compiled(f.Rule(["read"], f.ALLOW))
    assert run(program, 0, X86) == f.KILL_THREAD
    assert run(program, 0, AUDIT_ARCH["aarch64"]) == f.KILL_THREAD
    assert run(program, X32_BIT, X86_64) == f.KILL_THREAD
    assert run(program, 0xFFFFFFFF, X86_64) == EPERM, "a call that a tracer cancelled is none of x32's"


def test_listed_architectures_each_by_their_own_numbers() -> None:
    program = compiled(f.Rule(["mkdir"], f.ALLOW), arches=("x86_64", "x86", "x32"))
    for arch in ("x86_64", "x86", "x32"):
        assert action(program, "mkdir", arch=arch) == f.ALLOW
        assert action(program, "rmdir", arch=arch) == EPERM


def test_programs_of_32_bits_on_arm() -> None:
    """Each by its own numbers, arguments of 32 bits, and Arm's own calls, which are no newer than the others."""
    rules = [f.Rule(["mkdir", "mkdirat", "set_tls"], f.ALLOW), f.Rule(["read"], f.ALLOW, [f.Compare(0, f.EQ, 5)])]
    program = compile_filter(f.Filter(("aarch64", "arm"), EPERM, rules, f.ERRNO | f.ENOSYS))
    arm = load("arm")
    assert (arm["mkdir"], arm["set_tls"]) == (39, 0xF0005)
    assert action(program, "mkdir", arch="arm") == action(program, "mkdirat", arch="aarch64") == f.ALLOW
    assert action(program, "set_tls", arch="arm") == f.ALLOW
    assert action(program, "rmdir", arch="arm") == EPERM
    assert action(program, "read", 5, arch="arm") == f.ALLOW
    assert action(program, "read", 6, arch="arm") == EPERM
    assert run(program, 469, AUDIT_ARCH["arm"]) == f.ERRNO | f.ENOSYS
    assert run(program, 0, X86_64) == f.KILL_THREAD


def test_calls_newer_than_the_profile_are_unknown() -> None:
    program = compiled(f.Rule(["read", "statx"], f.ALLOW), newer=f.ERRNO | f.ENOSYS)
    assert action(program, "open") == EPERM
    assert action(program, "clone3") == f.ERRNO | f.ENOSYS


def test_the_first_rule_that_holds_decides() -> None:
    program = compiled(
        f.Rule(["personality"], f.ALLOW, [f.Compare(0, f.EQ, 0)]),
        f.Rule(["personality"], f.ALLOW, [f.Compare(0, f.EQ, 8)]),
        f.Rule(["personality"], f.LOG),
        f.Rule(["personality"], f.KILL_PROCESS),
    )
    assert [action(program, "personality", value) for value in (0, 8, 9)] == [f.ALLOW, f.ALLOW, f.LOG]


def test_all_comparisons_of_a_rule_must_hold() -> None:
    program = compiled(f.Rule(["socket"], f.ALLOW, [f.Compare(0, f.NE, 40), f.Compare(2, f.EQ, 7)]))
    assert action(program, "socket", 1, 0, 7) == f.ALLOW
    assert action(program, "socket", 40, 0, 7) == EPERM
    assert action(program, "socket", 1, 0, 8) == EPERM


_PYTHON = {
    f.NE: lambda a, c: a != c.value,
    f.LT: lambda a, c: a < c.value,
    f.LE: lambda a, c: a <= c.value,
    f.EQ: lambda a, c: a == c.value,
    f.GE: lambda a, c: a >= c.value,
    f.GT: lambda a, c: a > c.value,
    f.MASKED_EQ: lambda a, c: a & c.value == c.datum,
}
_edges = st.sampled_from(
    [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 63), (1 << 64) - 1]
)
_values = st.one_of(_edges, st.integers(0, (1 << 64) - 1))
_compares = st.builds(f.Compare, st.integers(0, 5), st.integers(0, 6), _values, _values)
_rules = st.builds(
    f.Rule,
    st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=40),
    st.sampled_from([f.ALLOW, f.LOG, EPERM, f.KILL_PROCESS]),
    st.lists(_compares, max_size=3),
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    st.lists(_rules, max_size=8),
    st.lists(st.tuples(st.sampled_from(sorted(NUMBERS)), st.tuples(*[_values] * 6)), max_size=20),
)
def test_a_program_does_what_its_rules_say(rules: list[f.Rule], calls: list[tuple[str, tuple[int, ...]]]) -> None:
    program = compiled(*rules)
    for name, arguments in calls:
        expected = EPERM
        for rule in rules:
            if name in rule.names and all(_PYTHON[c.op](arguments[c.index], c) for c in rule.compares):
                expected = rule.action
                break
        assert action(program, name, *arguments) == expected


def test_every_call_of_the_table_by_bisection() -> None:
    allowed = sorted(NUMBERS)[::2]
    program = compiled(f.Rule(allowed, f.ALLOW))
    for name in NUMBERS:
        assert action(program, name) == (f.ALLOW if name in allowed else EPERM), name


def test_a_large_program_has_jumps_that_fit() -> None:
    rules = [f.Rule([name], f.ALLOW, [f.Compare(0, f.EQ, i)]) for i, name in enumerate(sorted(NUMBERS))]
    program = compiled(*rules)
    assert len(program) // 8 <= 4096
    for i, name in enumerate(sorted(NUMBERS)):
        assert action(program, name, i) == f.ALLOW
        assert action(program, name, i + 1) == EPERM


def test_a_profile_beyond_the_kernels_limit_is_refused() -> None:
    rules = [
        f.Rule([name], f.ALLOW, [f.Compare(i, f.EQ, value) for i in range(6)]) for name in NUMBERS for value in range(3)
    ]
    with pytest.raises(ValueError, match="the kernel takes 4096"):
        compiled(*rules)


def test_both_doors_to_sockets_of_32_bit_x86() -> None:
    refuse = compiled(f.Rule(["socket"], EPERM), default=f.ALLOW, arches=("x86_64", "x86"))
    assert action(refuse, "socketcall", 1, arch="x86") == EPERM
    assert action(refuse, "socketcall", 2, arch="x86") == f.ALLOW
    narrow = compiled(f.Rule(["socket"], f.ALLOW, [f.Compare(0, f.EQ, 1)]), arches=("x86_64", "x86"))
    assert action(narrow, "socket", 1, arch="x86") == f.ALLOW
    assert action(narrow, "socketcall", 1, arch="x86") == EPERM, "its arguments cannot be seen, so it is not allowed"


# From here on: OCI's profiles.


def profile(**members: object) -> Seccomp:
    return Seccomp(Reader({"defaultAction": "SCMP_ACT_ERRNO", **members}, "seccomp"))


def test_an_oci_profile() -> None:
    program, flags = compile_profile(
        profile(
            defaultErrnoRet=38,
            architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_MIPS"],
            flags=["SECCOMP_FILTER_FLAG_LOG"],
            syscalls=[
                {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            ],
        )
    )
    assert flags == 2
    assert action(program, "read") == f.ALLOW
    assert action(program, "chmod") == f.ERRNO | 13
    assert action(program, "open") == f.ERRNO | 38


def test_a_profile_without_a_word_of_flags_leaves_speculation_alone() -> None:
    flags = [compile_profile(profile(**members))[1] for members in ({}, {"flags": None}, {"flags": []})]
    assert flags == [4, 4, 0]


def test_one_argument_compared_twice_means_either() -> None:
    args = [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"} for v in (3, 5)]
    program, _ = compile_profile(profile(syscalls=[{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": args}]))
    assert [action(program, "dup", v) for v in (3, 4, 5)] == [f.ALLOW, EPERM, f.ALLOW]


def test_a_mask_is_value_and_what_is_left_is_valuetwo() -> None:
    args = [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    program, _ = compile_profile(profile(syscalls=[{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args}]))
    assert action(program, "clone", 0x1200011) == f.ALLOW
    assert action(program, "clone", 0x10000000) == EPERM


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"defaultAction": "FOO"}, "string FOO is not a valid action"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "cannot be used as default action"),
        ({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}, "needs a listenerPath"),
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "cannot be used for the write syscall"),
        ({"syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}, "a rule without names"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}]}, "takes no errnoRet"),
        ({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}, "takes no errnoRet"),
        ({"flags": ["FOO"]}, "seccomp flag 'FOO' not known"),
        ({"architectures": ["FOO"]}, "string FOO is not a valid arch for seccomp"),
        ({"listenerMetadata": "x"}, "listenerMetadata needs a listenerPath"),
    ],
)
def test_bad_profiles_are_one_sentence(members: dict[str, object], sentence: str) -> None:
    with pytest.raises(SeccompError, match=sentence):
        compile_profile(profile(**members))


def test_an_agent_is_asked_for_the_calls_that_notify() -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    program, flags = compile_profile(profile(syscalls=[rule], listenerPath="/agent", defaultAction="SCMP_ACT_ALLOW"))
    assert flags & LISTENER
    assert action(program, "mkdir") == f.USER_NOTIF
    assert action(program, "rmdir") == f.ALLOW
    _, flags = compile_profile(profile(listenerPath="/agent"))
    assert not flags & LISTENER, "a path alone is ignored (config-linux.md)"


def test_a_program_is_an_array_of_sock_filter() -> None:
    program = compiled(f.Rule(["read"], f.ALLOW))
    assert struct.unpack_from("=HBBI", program) == (0x20, 0, 0, 4), "it loads the architecture first"


def test_compiled_programs_are_kept_by_content(tmp_path: Path) -> None:
    document = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    cache = tmp_path / "cache"
    first = compiled_profile(document, str(cache))
    (file,) = cache.iterdir()
    assert compiled_profile(json.loads(json.dumps(document)), str(cache)) == first == compiled_profile(document)
    assert list(cache.iterdir()) == [file]
    file.write_bytes(b"broken")
    assert compiled_profile(document, str(cache)) == first, "what is no program is not used"
    compiled_profile({**document, "defaultAction": "SCMP_ACT_LOG"}, str(cache))
    assert len(list(cache.iterdir())) == 2
    assert compiled_profile(None, str(cache)) is None
    assert compiled_profile(document, "/proc/nowhere") == first, "a cache that cannot be written is none"
