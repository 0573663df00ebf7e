"""A plain blocking client of one API server for benchmarks: one kept connection, a watch, a token for others."""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from groundplane.client import kubeconfig


class Api:
    """The administrator's calls, over a connection of its own with Nagle's algorithm off, as every client has it."""

    def __init__(self, config: str) -> None:
        self._access = kubeconfig.load(config)
        self.url = self._access.server
        self._place = urlsplit(self.url)
        self._context = ssl.create_default_context(cadata=self._access.ca.decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(self._access.client_certificate + b"\n" + self._access.client_key)
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            str(self._place.hostname), self._place.port, context=self._context, timeout=60
        )

    def raw(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer's object; raises RuntimeError with the server's words unless it is 2xx."""
        status, text = self.raw(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {text[:300]!r}")
        return dict(json.loads(text))

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """Events from now on; the watch is open when this returns."""
        version = self.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        connection = self._connect()
        connection.request("GET", f"{path}?watch=1&resourceVersion={version}")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()

        def events() -> Iterator[dict[str, Any]]:
            try:
                while line := answer.readline():
                    yield json.loads(line)
            finally:
                connection.close()

        return events()

    def token(self) -> str:
        """A service account's token with all rights: what a load generator without certificates shows."""
        self.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "bench"}})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        subject = {"kind": "ServiceAccount", "name": "bench", "namespace": "kube-system"}
        binding = {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [subject]}
        self.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        path = "/api/v1/namespaces/kube-system/serviceaccounts/bench/token"
        return str(self.call("POST", path, {"spec": {}})["status"]["token"])

    def close(self) -> None:
        self._connection.close()
