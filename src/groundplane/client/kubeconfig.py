"""How to reach a cluster and as whom: kubeconfig files (client-go tools/clientcmd/api/v1) and a pod's own mount.

Imports neither asyncio nor TLS, since the CLI reads it first.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from typing import Any

from groundplane.base import files
from groundplane.base.errors import GroundError

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class KubeconfigError(GroundError):
    """The file cannot be read, or does not say what is needed."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where a cluster is and who we are there. PEM as bytes; empty means: not given."""

    server: str
    ca: bytes = b""
    client_certificate: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    namespace: str = "default"


def load(path: str, context: str = "") -> Access:
    """The access that `context` (or the file's current context) describes. Raises KubeconfigError."""
    from groundplane.base.jsonyaml import DecodeError, yaml_loads

    try:
        with open(path, "rb") as f:
            document = yaml_loads(f.read())
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: {os.strerror(error.errno or 0)}") from error
    except DecodeError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error}") from error
    if not isinstance(document, dict):
        raise KubeconfigError(f"kubeconfig {path}: a mapping expected")
    name = context or document.get("current-context") or ""
    if not name:
        raise KubeconfigError(f"kubeconfig {path}: no current-context; name one")
    chosen = _named(path, document, "contexts", "context", name)
    cluster = _named(path, document, "clusters", "cluster", str(chosen.get("cluster") or ""))
    user = _named(path, document, "users", "user", str(chosen["user"])) if chosen.get("user") else {}
    for method in ("exec", "auth-provider", "username"):
        if user.get(method):
            raise KubeconfigError(
                f"kubeconfig {path}: user {chosen['user']}: {method} is not supported here; "
                "use a client certificate or a token"
            )
    if not cluster.get("server"):
        raise KubeconfigError(f"kubeconfig {path}: cluster {chosen.get('cluster')}: no server")
    folder = os.path.dirname(os.path.abspath(path))
    token_file = str(user.get("tokenFile") or "")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        ca=_material(path, folder, cluster, "certificate-authority"),
        client_certificate=_material(path, folder, user, "client-certificate"),
        client_key=_material(path, folder, user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=os.path.join(folder, token_file) if token_file else "",
        insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        namespace=str(chosen.get("namespace") or "default"),
    )


def in_cluster(environ: dict[str, str] | None = None, mount: str = SERVICE_ACCOUNT) -> Access:
    """A pod's own access through its service account. Raises KubeconfigError outside a pod."""
    env = os.environ if environ is None else environ
    host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise KubeconfigError("not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    namespace = "default"
    if os.path.exists(f"{mount}/namespace"):
        with open(f"{mount}/namespace", encoding="utf-8") as f:
            namespace = f.read().strip()
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca=_read(f"{mount}/ca.crt", f"{mount}/ca.crt"),
        token_file=f"{mount}/token",
        namespace=namespace,
    )


def document(access: Access, *, cluster: str = "groundplane", user: str = "admin") -> dict[str, Any]:
    """A kubeconfig with one context, its certificates inline."""
    where: dict[str, Any] = {"server": access.server}
    if access.ca:
        where["certificate-authority-data"] = base64.b64encode(access.ca).decode()
    if access.insecure_skip_tls_verify:
        where["insecure-skip-tls-verify"] = True
    if access.tls_server_name:
        where["tls-server-name"] = access.tls_server_name
    who: dict[str, Any] = {}
    if access.client_certificate:
        who["client-certificate-data"] = base64.b64encode(access.client_certificate).decode()
        who["client-key-data"] = base64.b64encode(access.client_key).decode()
    if access.token:
        who["token"] = access.token
    if access.token_file:
        who["tokenFile"] = access.token_file
    context: dict[str, Any] = {"cluster": cluster, "user": user}
    if access.namespace and access.namespace != "default":
        context["namespace"] = access.namespace
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "preferences": {},
        "clusters": [{"name": cluster, "cluster": where}],
        "contexts": [{"name": cluster, "context": context}],
        "users": [{"name": user, "user": who}],
    }


def save(path: str, access: Access, *, cluster: str = "groundplane", user: str = "admin") -> None:
    """Write the file, readable by its owner only, in one step."""
    from groundplane.base.jsonyaml import yaml_dumps

    text = yaml_dumps(document(access, cluster=cluster, user=user)).encode()
    files.replace(path, text, durable=False)


def _named(path: str, document: dict[str, Any], plural: str, singular: str, name: str) -> dict[str, Any]:
    for entry in document.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(singular), dict):
            return dict(entry[singular])
    raise KubeconfigError(f"kubeconfig {path}: {singular} {name!r} is not in it")


def _material(path: str, folder: str, section: dict[str, Any], key: str) -> bytes:
    """PEM from `key-data` (base64), which wins, or from the file that `key` names, relative to the kubeconfig."""
    if data := section.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"kubeconfig {path}: {key}-data is not base64") from error
    if name := section.get(key):
        return _read(os.path.join(folder, str(name)), path)
    return b""


def _read(name: str, path: str) -> bytes:
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error}") from error
