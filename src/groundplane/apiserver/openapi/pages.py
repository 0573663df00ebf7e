"""The OpenAPI documents by path, built when first asked for and kept as bytes.

/openapi/v2                   one document; JSON, or the protobuf that kubectl insists on
/openapi/v3                   an index of documents, each with a hash in its address
/openapi/v3/apis/GROUP/V      one document a group version; what its address hashes may be kept for ever
"""

from __future__ import annotations

import hashlib
from typing import Any

from groundplane.apiserver import negotiate, statuses
from groundplane.apiserver.call import Answer, Call, Text
from groundplane.apiserver.nonresource import VERSION, NoSuchPage
from groundplane.apiserver.openapi import descriptions, gnostic, paths
from groundplane.apiserver.openapi.schemas import Schemas
from groundplane.apiserver.registry import Registry
from groundplane.base import jsonyaml
from groundplane.kinds import schema

_OLD_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_INFO = {"title": "Kubernetes", "version": VERSION["gitVersion"]}


class OpenApi:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: dict[str, bytes] = {}
        self._texts: dict[str, Any] | None = None

    async def v2(self, call: Call) -> Answer:
        wanted = _PROTOBUF if _wants_protobuf(call.accept) else "application/json"
        if wanted not in self._kept:
            document = self._document_v2()
            self._kept["application/json"] = jsonyaml.dumps(document)
            self._kept[_PROTOBUF] = gnostic.encode(document)
        body = self._kept[wanted]
        return Text(body, wanted, headers={"ETag": f'"{_hash(body)}"', "Vary": "Accept"})

    async def v3_index(self, call: Call) -> Answer:
        shown = {}
        for path in self._group_versions():
            shown[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(self._v3(path))}"}
        return Text(jsonyaml.dumps({"paths": shown}), "application/json")

    async def v3(self, call: Call) -> Answer:
        path = call.target.path.removeprefix("/openapi/v3/").strip("/")
        if path not in self._group_versions():
            raise NoSuchPage
        if "spec.v3" in call.accept and "json" not in call.accept and "*/*" not in call.accept:
            raise statuses.not_acceptable(["application/json"])
        body = self._v3(path)
        kept = {"Cache-Control": "public, immutable"} if call.query.get("hash") == _hash(body) else {}
        return Text(body, "application/json", headers={"ETag": f'"{_hash(body)}"', "Vary": "Accept", **kept})

    def _described(self) -> dict[str, Any]:
        if self._texts is None:
            self._texts = descriptions.load()
        return self._texts

    def _group_versions(self) -> dict[str, tuple[str, str]]:
        """`api/v1`, `apis/apps/v1` … and what they name."""
        found = {}
        for endpoint in self._registry:
            group, version = endpoint.resource.group, endpoint.resource.version
            found[f"apis/{group}/{version}" if group else f"api/{version}"] = (group, version)
        return found

    def _document_v2(self) -> dict[str, Any]:
        served = {p: i for e in self._registry for p, i in paths.items(e.resource, 2)}
        names = sorted(set(schema.kinds().values()))
        definitions = Schemas(2, self._described()).definitions(names)
        return {"swagger": "2.0", "info": _INFO, "paths": dict(sorted(served.items())), "definitions": definitions}

    def _v3(self, path: str) -> bytes:
        if path not in self._kept:
            self._kept[path] = jsonyaml.dumps(self._document_v3(*self._group_versions()[path]))
        return self._kept[path]

    def _document_v3(self, group: str, version: str) -> dict[str, Any]:
        resources = [e.resource for e in self._registry if (e.resource.group, e.resource.version) == (group, version)]
        served = {p: i for r in resources for p, i in paths.items(r, 3)}
        names = {name for (g, v, _), name in schema.kinds().items() if (g, v) == (group, version)}
        names |= {"meta.v1.Status", "meta.v1.DeleteOptions", "meta.v1.WatchEvent"}
        for resource in resources:
            for sub in resource.subresources.values():
                if (found := schema.type_of(sub.group, sub.version, sub.kind)) is not None:
                    names.add(found.name)
        schemas = Schemas(3, self._described()).definitions(sorted(names))
        return {
            "openapi": "3.0.0",
            "info": _INFO,
            "paths": dict(sorted(served.items())),
            "components": {"schemas": schemas},
        }


def _wants_protobuf(accept: str) -> bool:
    for clause in negotiate.clauses(accept):
        media = f"{clause.main}/{clause.sub}"
        if media in (_OLD_PROTOBUF, _PROTOBUF):
            return True
        if media in ("application/json", "*/*"):
            return False
    return False


def _hash(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()
