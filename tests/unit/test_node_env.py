"""A container's environment and volume payloads: references, expansion, upstream's refusals."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.node_builders import container, pod

from groundplane.daemon.main import run_loop
from groundplane.node import env, hosts
from groundplane.node.volumes import atomic
from groundplane.node.volumes.payload import File, VolumeError, payload


class Cluster:
    """ConfigMaps, Secrets and tokens of one namespace."""

    def __init__(self, config_maps: dict[str, Any] | None = None, secrets: dict[str, Any] | None = None) -> None:
        self.config_maps = config_maps or {}
        self.secrets = secrets or {}

    async def config_map(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.config_maps.get(name)

    async def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.secrets.get(name)

    async def token(self, pod: dict[str, Any], audience: str, seconds: int) -> str:
        return f"token for {audience or 'the cluster'}"


CLUSTER = Cluster(
    {"c": {"data": {"k": "v", "OTHER": "o"}}}, {"s": {"data": {"p": base64.b64encode(b"hunter2").decode()}}}
)
SERVICE = {
    "metadata": {"name": "my-db", "namespace": "default"},
    "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
}


def env_of(a_container: dict[str, Any], services: tuple[Any, ...] = (), cluster: Cluster = CLUSTER) -> dict[str, str]:
    a_pod = pod(a_container, meta={"labels": {"l": "x"}})
    return asyncio.run(env.environment(a_pod, a_container, services, "10.244.0.5", "192.0.2.1", cluster))


def test_all_sources() -> None:
    found = env_of(
        container(
            envFrom=[{"configMapRef": {"name": "c"}, "prefix": "P_"}],
            env=[
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)-$(P_k)-$(NOPE)-$$(A)"},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "G", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
            ],
            resources={"limits": {"memory": "1Gi"}},
        )
    )
    assert found == {
        "P_k": "v", "P_OTHER": "o", "A": "1", "B": "1-v-$(NOPE)-$(A)", "C": "hunter2", "D": "x", "E": "10.244.0.5",
        "F": "1024",
    }  # fmt: skip


def test_service_variables() -> None:
    found = env_of(container(), (SERVICE,))
    assert found["MY_DB_SERVICE_HOST"] == "10.96.0.7"
    assert found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert found["MY_DB_PORT_5432_TCP"] == "tcp://10.96.0.7:5432"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "q"}}, "couldn't find key q in Secret default/s"),
        ({"fieldRef": {"fieldPath": "spec.odd"}}, "unsupported fieldPath: spec.odd"),
    ],
)
def test_refused(source: dict[str, Any], message: str) -> None:
    with pytest.raises(env.EnvError) as caught:
        env_of(container(env=[{"name": "X", "valueFrom": source}]))
    assert str(caught.value) == message


def files_of(volume: dict[str, Any], **spec: Any) -> Any:
    return asyncio.run(payload(pod(**spec), {"name": "v", **volume}, "", "", CLUSTER, CLUSTER))


def test_volume_payloads() -> None:
    items = [{"key": "k", "path": "sub/file", "mode": 0o600}]
    assert files_of({"configMap": {"name": "c", "items": items}}) == {"sub/file": File(b"v", 0o600)}
    assert files_of({"secret": {"secretName": "s", "defaultMode": 0o400}}) == {"p": File(b"hunter2", 0o400)}
    assert files_of({"emptyDir": {}}) is None
    token = {"serviceAccountToken": {"path": "token", "audience": "vault"}}
    assert files_of({"projected": {"sources": [token]}}) == {"token": File(b"token for vault", 0o644)}
    mine = files_of({"projected": {"sources": [token]}}, securityContext={"runAsUser": 1000})
    assert mine == {"token": File(b"token for vault", 0o600, 1000)}
    ours = files_of({"projected": {"sources": [token]}}, securityContext={"fsGroup": 2000})
    assert ours == {"token": File(b"token for vault", 0o600)}
    with pytest.raises(VolumeError, match='secret "none" not found'):
        files_of({"secret": {"secretName": "none"}})


def test_atomic_writes(state_root: Path) -> None:
    directory = state_root / "volume"
    directory.mkdir()
    assert atomic.write(str(directory), {"a": File(b"1", 0o644), "d/b": File(b"2", 0o400)})
    assert (directory / "a").read_bytes() == b"1"
    assert (directory / "d" / "b").stat().st_mode & 0o777 == 0o400
    assert not atomic.write(str(directory), {"a": File(b"1", 0o644), "d/b": File(b"2", 0o400)})
    before = (directory / "..data").readlink()
    assert atomic.write(str(directory), {"a": File(b"changed", 0o644)})
    assert (directory / "a").read_bytes() == b"changed"
    assert not (directory / "d").exists()
    assert not (directory / before).exists()


def test_an_unknown_name_is_as_long_as_its_closing_parenthesis() -> None:
    assert env.expand("$(A) $(x$(A)) $$(A)", {"A": "1"}) == "1 $(x$(A)) $(A)"


def test_what_a_daemon_makes_has_the_modes_that_it_gives() -> None:
    """Whatever the umask of who started it: users of pods read files of ours."""
    before = os.umask(0o077)

    async def work() -> None:
        pass

    try:
        run_loop(work())
        assert os.umask(0o077) == 0o022
    finally:
        os.umask(before)


def test_the_hosts_search_list_without_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, uplink = tmp_path / "stub", tmp_path / "uplink"
    stub.write_text("nameserver 127.0.0.53\nsearch .\n")
    uplink.write_text("nameserver 192.0.2.53\nsearch a.example. .\n")
    monkeypatch.setattr(hosts, "HOST_RESOLV_CONF", str(stub))
    monkeypatch.setattr(hosts, "UPLINK_RESOLV_CONF", str(uplink))
    hosts.write(str(tmp_path), pod(dnsPolicy="Default"), "p", "10.244.0.5", dns_address="10.96.0.10", domain="d")
    assert (tmp_path / "resolv.conf").read_text() == "search a.example\nnameserver 192.0.2.53\n"


@pytest.mark.parametrize("value", [b"\xff", b"a\0b"])
def test_a_secret_that_is_no_text_is_no_variable(value: bytes) -> None:
    secrets = Cluster(secrets={"s": {"data": {"p": base64.b64encode(value).decode()}}})
    one = container(envFrom=[{"secretRef": {"name": "s"}}])
    with pytest.raises(env.EnvError, match="the Secret's value of p"):
        asyncio.run(env.environment(pod(one), one, [], "10.244.0.5", "192.0.2.1", secrets))


def test_maps_are_quoted_as_go_does() -> None:
    assert env.format_map({"b": 'q"\\\r\n\t\x01\x7f\u00a0é', "a": "1"}) == (
        'a="1"\nb="q\\"\\\\\\r\\n\\t\\x01\\x7f\\u00a0é"'
    )
