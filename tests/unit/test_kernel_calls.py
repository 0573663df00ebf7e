"""The kernel dictionary's tables and errors: numbers against the full tables, capabilities, architectures, rlimits."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from groundplane.base.errors import GroundError
from groundplane.kernel import caps
from groundplane.kernel.calls import numbers
from groundplane.kernel.calls.binding import path_bytes
from groundplane.kernel.calls.rlimits import RESOURCES, get_rlimit
from groundplane.kernel.errors import KernelError
from groundplane.kernel.seccomp.tables import load


@pytest.mark.parametrize("arch", numbers.ARCHITECTURES)
def test_the_numbers_we_call_are_those_of_the_full_tables(arch: str) -> None:
    assert {name: load(arch)[name] for name in numbers.TABLE} == numbers.numbers(arch)


def test_tables_agree_where_numbers_are_shared() -> None:
    x86_64, aarch64 = load("x86_64"), load("aarch64")
    shared = {name for name, number in x86_64.items() if number >= 424 and name in aarch64}
    assert len(shared) > 35
    assert all(x86_64[name] == aarch64[name] for name in shared)
    assert all(number >= 0x40000000 for number in load("x32").values())


def test_unknown_architectures_are_refused_in_one_sentence() -> None:
    with pytest.raises(GroundError, match=r"this machine's architecture \(s390x\) is not supported"):
        numbers.architecture("s390x")


def test_an_error_names_call_and_object() -> None:
    error = KernelError("mount", errno.EPERM, "/proc", "a hint")
    assert str(error) == "mount /proc: Operation not permitted (EPERM): a hint"
    assert (error.call, error.errno, error.object) == ("mount", errno.EPERM, "/proc")
    with pytest.raises(KernelError, match="a path cannot contain a NUL byte"):
        path_bytes("a\0b")


def test_capability_masks() -> None:
    assert caps.mask(["CAP_CHOWN", "CAP_SETPCAP", "CAP_NONE"]) == 1 | 1 << 8
    assert caps.names(1 | 1 << 8) == ["CAP_CHOWN", "CAP_SETPCAP"]
    assert caps.unknown(["CAP_CHOWN", "CAP_NONE"]) == ["CAP_NONE"]
    assert len(caps.NAMES) == caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] + 1 == 41


def test_our_own_sets_are_read() -> None:
    assert set(caps.current()) == {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    assert caps.last() >= 40


def test_resource_numbers_are_the_kernels() -> None:
    known = {name: getattr(resource, name) for name in RESOURCES if hasattr(resource, name)}
    assert known
    assert known == {name: RESOURCES[name] for name in known}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert get_rlimit(os.getpid(), "RLIMIT_NOFILE") == (soft, hard)
