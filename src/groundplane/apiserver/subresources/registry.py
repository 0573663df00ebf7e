"""Every subresource and its verbs; `*` stands for any resource that has one of this name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver.streams import exec as execs
from groundplane.apiserver.streams import log
from groundplane.apiserver.subresources import binding, eviction, proxy, scale, token
from groundplane.apiserver.verbs.get import get
from groundplane.apiserver.verbs.patch import patch
from groundplane.apiserver.verbs.update import update

if TYPE_CHECKING:
    from groundplane.apiserver.chain import Verb

_VIEW: dict[str, Verb] = {"get": get, "update": update, "patch": patch}
_PROXY: dict[str, Verb] = dict.fromkeys(("get", "create", "update", "patch", "delete"), proxy.refuse)
_SCALE: dict[str, Verb] = {"get": scale.get, "update": scale.update, "patch": scale.patch}

SUBRESOURCES: dict[tuple[str, str, str], dict[str, Verb]] = {
    ("*", "*", "status"): _VIEW,
    ("*", "*", "scale"): _SCALE,
    ("", "namespaces", "finalize"): {"update": update},
    ("", "pods", "ephemeralcontainers"): _VIEW,
    ("", "pods", "resize"): _VIEW,
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): _VIEW,
    ("", "pods", "binding"): {"create": binding.create},
    ("", "pods", "eviction"): {"create": eviction.create},
    ("", "serviceaccounts", "token"): {"create": token.create},
    ("", "pods", "log"): {"get": log.get},
    ("", "pods", "exec"): {"get": execs.exec_, "create": execs.exec_},
    ("", "pods", "attach"): {"get": execs.attach, "create": execs.attach},
    ("", "pods", "portforward"): {"get": execs.portforward, "create": execs.portforward},
    ("", "pods", "proxy"): _PROXY,
    ("", "services", "proxy"): _PROXY,
    ("", "nodes", "proxy"): _PROXY,
}
