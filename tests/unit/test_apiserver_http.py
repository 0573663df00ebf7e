"""The HTTPS edge: who may speak, how much, in which words; what a client that misbehaves is told."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.fakes.node import FakeNode
from tests.foreign.api_server import Running, running

from groundplane.apiserver import http as edge
from groundplane.apiserver import protobuf
from groundplane.wire import kubeproto

MAPS = "/api/v1/namespaces/default/configmaps"


class Caller:
    """One connection; with the administrator's certificate, or nobody's."""

    def __init__(self, server: Running, *, admin: bool) -> None:
        context = ssl.create_default_context(cafile=server.server.pki.ca.certificate)
        if admin:
            pair = server.server.pki.client("admin", "kubernetes-admin", ["system:masters"])
            context.load_cert_chain(pair.certificate, pair.key)
        self._open: http.client.HTTPResponse | None = None
        place = urlsplit(server.url)
        self._connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=20)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self._connection.request(method, path, body, named)
        response = self._connection.getresponse()
        data = response.read()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return response.status, json.loads(data) if is_json and data else data, response.headers

    def begin(self, method: str, path: str) -> int:
        """Ask, and read no further than the answer's head."""
        self._connection.request(method, path)
        self._open = self._connection.getresponse()
        return self._open.status

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._connection.close()


@pytest.fixture
def server(state_root: Path) -> Iterator[Running]:
    with running(state_root) as found:
        yield found


@pytest.fixture
def admin(server: Running) -> Iterator[Caller]:
    caller = Caller(server, admin=True)
    yield caller
    caller.close()


@pytest.fixture
def nobody(server: Running) -> Iterator[Caller]:
    caller = Caller(server, admin=False)
    yield caller
    caller.close()


def test_who_may_speak(admin: Caller, nobody: Caller) -> None:
    assert admin("GET", MAPS)[0] == 200
    code, body, _ = nobody("GET", MAPS)
    assert code == 403 and 'User "system:anonymous" cannot list resource "configmaps"' in body["message"]
    assert nobody("GET", MAPS, Authorization="Bearer wrong")[:2][0] == 401
    assert nobody("GET", "/readyz")[1] == b"ok"
    code, body, _ = admin("GET", MAPS, Impersonate_User="jane")
    assert code == 403 and 'User "jane"' in body["message"]


def test_how_much(admin: Caller) -> None:
    large = json.dumps({"metadata": {"name": "a"}, "data": {"k": "x" * (4 << 20)}}).encode()
    code, body, _ = admin("POST", MAPS, large, Content_Type="application/json")
    assert (code, body["reason"]) == (413, "RequestEntityTooLarge")


def test_a_client_that_asks_before_it_sends(server: Running) -> None:
    """Expect: 100-continue, as curl says with large bodies."""
    pair = server.server.pki.client("admin", "kubernetes-admin", ["system:masters"])
    context = ssl.create_default_context(cafile=server.server.pki.ca.certificate)
    context.load_cert_chain(pair.certificate, pair.key)
    body = b'{"metadata":{"name":"asked"}}'
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    place = urlsplit(server.url)
    with (
        socket.create_connection((place.hostname, place.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=place.hostname) as connection,
    ):
        connection.sendall(head.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 Created\r\n")


@pytest.mark.parametrize(
    ("body", "media", "code", "told"),
    [
        (b"{", "application/json", 400, "unexpected end of JSON input"),
        (b"\xff\xfe", "application/json", 400, "unrecognized"),
        (b"a: [", "application/yaml", 400, "unrecognized"),
        (b"k8s\x00\xff\xff\xff", "application/vnd.kubernetes.protobuf", 400, "unrecognized"),
        (b"{}", "application/vnd.kubernetes.protobuf", 400, "expected prefix"),
        (b"x", "text/plain", 415, "unknown format"),
        (b"[]", "application/json", 400, "cannot unmarshal array"),
        (b"", "application/json", 400, "unexpected end of JSON input"),
    ],
)
def test_bodies_that_cannot_be_read(admin: Caller, body: bytes, media: str, code: int, told: str) -> None:
    found, status, _ = admin("POST", MAPS, body, Content_Type=media)
    assert found == code and told in status["message"], status


def test_forms_of_an_answer(admin: Caller) -> None:
    code, body, headers = admin("POST", MAPS, b'{"metadata":{"name":"a"},"bar":1}', Content_Type="application/json")
    assert code == 201 and headers["Warning"] == '299 - "unknown field \\"bar\\""'
    assert admin("GET", f"{MAPS}/a", Accept="application/yaml")[1].startswith(b"apiVersion: v1\nkind: ConfigMap\n")
    raw = admin("GET", f"{MAPS}/a", Accept="application/vnd.kubernetes.protobuf")[1]
    assert raw.startswith(b"k8s\x00")
    assert admin("GET", MAPS, Accept="text/csv")[0] == 406
    assert admin("HEAD", f"{MAPS}/a")[1] == b""
    table = admin("GET", MAPS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")[1]
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert admin("GET", "/nope")[:2] == (404, b"404 page not found\n")
    assert body["kind"] == "ConfigMap"


def test_a_scale_has_a_table_of_its_own(admin: Caller) -> None:
    wanted = {"metadata": {"name": "r"}, "spec": {"replicas": 2, "selector": {"a": "b"}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}  # fmt: skip
    controllers = "/api/v1/namespaces/default/replicationcontrollers"
    assert admin("POST", controllers, json.dumps(wanted).encode(), Content_Type="application/json")[0] == 201
    table = admin("GET", f"{controllers}/r/scale", Accept="application/json;as=Table;v=v1;g=meta.k8s.io")[1]
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert [row["cells"][:3] for row in table["rows"]] == [["r", 2, 0]]
    assert table["rows"][0]["object"]["metadata"]["name"] == "r"


def test_what_is_a_number_or_a_text_is_said_to_be(admin: Caller) -> None:
    schemas = admin("GET", "/openapi/v3/api/v1")[1]["components"]["schemas"]
    either = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    assert [one["type"] for one in schemas[either]["oneOf"]] == ["integer", "string"]
    port = schemas["io.k8s.api.core.v1.HTTPGetAction"]["properties"]["port"]
    assert port["allOf"] == [{"$ref": f"#/components/schemas/{either}"}]
    assert admin("GET", "/openapi/v2")[1]["definitions"][either]["type"] == "string"


def test_a_watch_ends_at_its_time_and_at_the_servers_end(admin: Caller) -> None:
    code, data, _ = admin("GET", f"{MAPS}?watch=1&timeoutSeconds=3&allowWatchBookmarks=true&resourceVersion=1")
    last = data if isinstance(data, dict) else json.loads(data.splitlines()[-1])
    assert code == 200 and last["type"] in ("BOOKMARK", "ERROR")


def test_a_watch_in_protobuf(admin: Caller) -> None:
    admin("POST", MAPS, b'{"metadata":{"name":"a"},"data":{"k":"v"}}', Content_Type="application/json")
    code, data, headers = admin(
        "GET", f"{MAPS}?watch=1&timeoutSeconds=1", Accept="application/vnd.kubernetes.protobuf;stream=watch"
    )
    assert (code, headers["Content-Type"]) == (200, "application/vnd.kubernetes.protobuf;stream=watch")
    [(word, body)] = kubeproto.unframe(bytearray(data))
    assert word == "ADDED" and protobuf.decode(body)["data"] == {"k": "v"}


def test_answers_are_counted(admin: Caller) -> None:
    admin("GET", f"{MAPS}/none")
    told = admin("GET", "/metrics")[1].decode()
    assert 'apiserver_request_total{verb="get",resource="configmaps",code="404"} 1' in told
    assert 'apiserver_storage_objects{resource="namespaces"} 4' in told


def test_an_idle_watch_costs_nothing(server: Running, admin: Caller) -> None:
    """It waits for its deadline; it does not spin (a watch without bookmarks has nothing to do before)."""
    begin = time.process_time()
    assert admin("GET", f"{MAPS}?watch=1&timeoutSeconds=2&resourceVersion=1")[0] == 200
    assert time.process_time() - begin < 1.0


def test_a_silent_log_is_let_go_with_its_client(state_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers come at once, and the node's reader ends soon after the client has gone."""
    monkeypatch.setattr(edge, "_LOOK_EVERY", 0.05)
    monkeypatch.setattr(edge, "_REFUSED_WITHIN", 0.05)
    node = SilentNode()
    with running(state_root, node) as server:
        caller = Caller(server, admin=True)
        body = {"metadata": {"name": "default"}}
        caller("POST", "/api/v1/namespaces/default/serviceaccounts", json.dumps(body).encode())
        caller("POST", "/api/v1/nodes", json.dumps({"metadata": {"name": "n"}}).encode())
        spec = {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}
        pods = "/api/v1/namespaces/default/pods"
        assert caller("POST", pods, json.dumps({"metadata": {"name": "p"}, "spec": spec}).encode())[0] == 201
        code = caller.begin("GET", f"{pods}/p/log?follow=true")
        assert code == 200
        caller.close()
        assert node.ended.wait(10)


class SilentNode(FakeNode):
    """Its log never says anything; `ended` is set when its reader has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    async def logs(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            self.ended.set()


def test_a_body_that_does_not_come_is_not_waited_for(
    server: Running, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_BODY_WITHIN", 0.2)
    connection = admin._connection
    connection.putrequest("POST", MAPS)
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    response = connection.getresponse()
    assert response.status == 504
    assert json.loads(response.read())["reason"] == "Timeout"


def test_pages_in_the_forms_that_clients_ask_for(admin: Caller) -> None:
    """A client that speaks protobuf, as upstream's own tests do, asks for everything in it."""
    binary = "application/vnd.kubernetes.protobuf"
    for path in ("/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"):
        status, body, headers = admin("GET", path, Accept=binary)
        assert (status, headers["Content-Type"]) == (200, binary)
        assert protobuf.decode(body)["kind"].startswith("API")
    for path in ("/version", "/"):
        for accept in (binary, "application/yaml", "text/plain", "*/*"):
            status, body, headers = admin("GET", path, Accept=accept)
            assert (status, headers["Content-Type"]) == (200, "application/json"), (path, accept)
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    asked = json.dumps({**review, "spec": {"nonResourceAttributes": {"verb": "get", "path": "/x"}}}).encode()
    for accept, expected in ((table, 406), (f"{table},application/json", 201)):
        found = admin("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked, Accept=accept)
        assert found[0] == expected
    assert admin("GET", "/api/v1", Accept=table)[0] == 406


def test_rows_of_finished_pods_say_so(admin: Caller) -> None:
    """kubectl leaves them out where it is asked to."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    made = admin("POST", "/api/v1/namespaces/default/serviceaccounts", b'{"metadata":{"name":"default"}}')
    assert made[0] in (201, 409)
    assert admin("POST", "/api/v1/namespaces/default/pods", json.dumps(pod).encode())[0] == 201
    done = b'{"status":{"phase":"Succeeded"}}'
    path = "/api/v1/namespaces/default/pods"
    assert admin("PATCH", f"{path}/p/status", done, Content_Type="application/merge-patch+json")[0] == 200
    _, body, _ = admin("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    (row,) = body["rows"]
    assert [(c["type"], c["status"], c["reason"]) for c in row["conditions"]] == [("Completed", "True", "Succeeded")]


def test_what_is_nested_too_deeply_is_the_clients_fault(admin: Caller) -> None:
    path = "/apis/apps/v1/namespaces/default/controllerrevisions"
    for levels, code in ((200, 201), (300, 400), (600, 400), (1000, 400), (20_000, 400)):
        data = b'{"a":' * levels + b"1" + b"}" * levels
        made = b'{"metadata":{"name":"n%d"},"revision":1,"data":%s}' % (levels, data)
        assert admin("POST", path, made)[0] == code, levels
        for media in ("merge-patch", "strategic-merge-patch"):
            patched = admin("PATCH", f"{path}/n200", b'{"data":%s}' % data, Content_Type=f"application/{media}+json")
            assert patched[0] == (200 if code == 201 else 400), (media, levels, patched[1])
