"""The real kubectl sends protobuf and reads ours: a server that only records and answers."""

from __future__ import annotations

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from groundplane.kinds import decode, defaults, protobuf, schema
from groundplane.wire import kubeproto

CODEC = kubeproto.Codec(protobuf.describe)


class _Recorder(BaseHTTPRequestHandler):
    seen: list[tuple[str, str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen.append((self.path, self.headers["Content-Type"], body))
        api_version, kind, message = kubeproto.unwrap(body)
        found = schema.type_of(*schema.split_api_version(api_version), kind)
        assert found is not None
        obj = defaults.apply_kind(*schema.split_api_version(api_version), kind, _canonical(found, message))
        answer = kubeproto.wrap(api_version, kind, CODEC.encode(found.name, obj))
        self.send_response(201)
        self.send_header("Content-Type", "application/vnd.kubernetes.protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: pytest shows what matters."""


def _canonical(found: schema.Type, message: bytes) -> dict[str, Any]:
    return decode.decode(found, CODEC.decode(found.name, message))[0]


@pytest.mark.needs("kubectl")
def test_kubectl_creates_a_deployment_in_protobuf(tmp_path: Any) -> None:
    class Handler(_Recorder):
        seen: list[tuple[str, str, bytes]] = []  # noqa: RUF012 because each test has a class of its own

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        command = [
            "kubectl", "--kubeconfig=/dev/null", f"--cache-dir={tmp_path}", "--validate=false",
            f"--server=http://127.0.0.1:{server.server_port}", "--namespace=default",
            "create", "deployment", "web", "--image=img:1", "--replicas=2", "--port=80", "-o", "json",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    path, content_type, body = Handler.seen[0]
    assert path.startswith("/apis/apps/v1/namespaces/default/deployments")
    assert content_type == "application/vnd.kubernetes.protobuf"
    _, _, message = kubeproto.unwrap(body)
    sent = _canonical(schema.get_type("apps.v1.Deployment"), message)
    assert sent["spec"]["replicas"] == 2
    container = sent["spec"]["template"]["spec"]["containers"][0]
    assert (container["name"], container["image"], container["ports"]) == ("img", "img:1", [{"containerPort": 80}])
    assert '"terminationMessagePath": "/dev/termination-log"' in done.stdout
