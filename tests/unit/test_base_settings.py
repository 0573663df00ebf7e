"""Settings: what cannot be a value is refused in one sentence, before anything is started with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from groundplane.base.errors import UsageError
from groundplane.base.settings import Settings, load


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("api_port", "x", "a whole number expected, 'x' found"),
        ("api_port", "70000", "a port from 1 to 65535 expected, 70000 found"),
        ("kubelet_port", "0", "a port from 1 to 65535"),
        ("log_level", "loud", "debug, info, warning, error expected, 'loud' found"),
        ("node_port_range", "5", "'5' found"),
        ("node_port_range", "4000-3000", "'4000-3000' found"),
        ("node_port_range", "a-b", "'a-b' found"),
        ("pod_cidr", "x", "setting pod_cidr: an IPv4 range expected"),
        ("pod_cidr", "10.1.0.1/16", "has host bits set"),
        ("pod_cidr", "10.1.0.0/25", "too small"),
        ("service_cidr", "10.1.0.0/29", "too small"),
        ("service_cidr", "fd00::/64", "setting service_cidr"),
        ("service_cidr", "10.244.7.0/24", "10.244.0.0/16 and 10.244.7.0/24 overlap"),
        ("node_ip", "here", "setting node_ip: an IPv4 address expected, 'here' found"),
        ("root", "", "setting root: it is empty"),
        ("run", "", "setting run: it is empty"),
    ],
)
def test_what_cannot_be_a_value(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        load({"GROUND_CONFIG": "/nowhere", f"GROUND_{name.upper()}": value})
    assert words in str(raised.value)


def test_a_file_may_hold_other_types(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("node_port_range: 5\n")
    with pytest.raises(UsageError, match="setting node_port_range: a text expected, 5 found"):
        load({"GROUND_CONFIG": str(file)})
    file.write_text('api_port: 7000\npod_cidr: 10.9.0.0/16\nservice_cidr: 10.8.0.0/24\nnode_port_range: "1-9"\n')
    assert load({"GROUND_CONFIG": str(file)}) == Settings(
        api_port=7000, pod_cidr="10.9.0.0/16", service_cidr="10.8.0.0/24", node_port_range="1-9"
    )


def test_directories_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load({"GROUND_CONFIG": "/nowhere", "GROUND_ROOT": "a/b"}, run="./c")
    assert (found.root, found.run) == (os.path.join(tmp_path, "a/b"), os.path.join(tmp_path, "c"))
