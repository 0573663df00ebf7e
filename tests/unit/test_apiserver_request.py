"""What a request asks for, and in which form it wants its answer."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest

from groundplane.apiserver import negotiate, protobuf
from groundplane.apiserver.negotiate import JSON, PROTOBUF, YAML
from groundplane.apiserver.request import asked_verb, parse, parse_query
from groundplane.apiserver.statuses import StatusError
from groundplane.apiserver.verbs import continuation
from groundplane.apiserver.verbs.continuation import Token
from groundplane.kinds import quantities
from groundplane.kinds.quantities import QuantityError
from groundplane.kinds.validation import names
from groundplane.wire import kubeproto

PODS = "/api/v1/namespaces/ns/pods"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "rest"),
    [
        ("GET", PODS, "", "list", ("", "v1", "ns", "pods", "", "")),
        ("GET", PODS, "watch=1", "watch", ("", "v1", "ns", "pods", "", "")),
        ("GET", PODS, "watch=false", "list", ("", "v1", "ns", "pods", "", "")),
        ("GET", PODS + "/p", "", "get", ("", "v1", "ns", "pods", "p", "")),
        ("HEAD", PODS + "/p", "", "get", ("", "v1", "ns", "pods", "p", "")),
        ("POST", PODS, "", "create", ("", "v1", "ns", "pods", "", "")),
        ("DELETE", PODS, "", "deletecollection", ("", "v1", "ns", "pods", "", "")),
        ("PATCH", PODS + "/p/status", "", "patch", ("", "v1", "ns", "pods", "p", "status")),
        ("GET", "/api/v1/namespaces/ns", "", "get", ("", "v1", "ns", "namespaces", "ns", "")),
        ("PUT", "/api/v1/namespaces/ns/finalize", "", "update", ("", "v1", "ns", "namespaces", "ns", "finalize")),
        ("GET", "/api/v1/watch/pods", "", "watch", ("", "v1", "", "pods", "", "")),
        ("GET", "/apis/apps/v1/deployments", "", "list", ("apps", "v1", "", "deployments", "", "")),
    ],
)
def test_targets(method: str, path: str, query: str, verb: str, rest: tuple[str, ...]) -> None:
    target = parse(method, path)
    assert asked_verb(target, parse_query(query)) == verb
    found = (target.group, target.version, target.namespace, target.resource, target.name, target.subresource)
    assert found == rest


def test_long_texts_are_not_remembered() -> None:
    """Else a client's 3 MB names would fill memory."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(200):
            long = f"{n}" * 20_000
            parse("GET", f"{PODS}/{long}")
            for check in (names.subdomain, names.qualified_name, names.port_name, names.parse_ip):
                check(long)
            for reads in (quantities.canonical, negotiate.negotiate):
                with contextlib.suppress(QuantityError, StatusError):
                    reads(long)
            with contextlib.suppress(protobuf.DecodeError):
                protobuf.decode(kubeproto.wrap("v1", long, b""))
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/nope"])
def test_paths_that_are_no_resource(path: str) -> None:
    assert not parse("GET", path).is_resource
    assert parse("GET", path).verb == "get"


@pytest.mark.parametrize(
    ("accept", "media", "shown"),
    [
        ("", JSON, ""),
        ("*/*", JSON, ""),
        ("application/*", JSON, ""),
        ("application/yaml", YAML, ""),
        ("application/vnd.kubernetes.protobuf,application/json", PROTOBUF, ""),
        ("application/json;q=0.5, application/yaml", YAML, ""),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", JSON, "Table"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", JSON, ""),
        ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", JSON, ""),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", JSON, "PartialObjectMetadataList"),
    ],
)
def test_forms(accept: str, media: str, shown: str) -> None:
    form = negotiate.negotiate(accept)
    assert (form.media, form.shown_as) == (media, shown)


def test_a_form_that_is_not_offered() -> None:
    with pytest.raises(StatusError) as refused:
        negotiate.negotiate("text/csv")
    assert refused.value.code == 406


def test_continue_tokens() -> None:
    token = Token("ns/name\0", 42)
    assert continuation.decode(continuation.encode(token)) == token
    for bad in ("%", "zzz", "e30", continuation.encode(Token("", 1)), continuation.encode(Token("../x", 1))):
        with pytest.raises(StatusError, match="invalid continue token"):
            continuation.decode(bad)
