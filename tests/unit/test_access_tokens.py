"""Service account tokens: signatures, claims, what they are bound to, and what a TokenRequest refuses."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.clock import VirtualClock
from tests.fakes.objects import FakeObjects

from groundplane.apiserver.access.jws import BadToken, Key, unverified, verify
from groundplane.apiserver.access.tokens import Tokens
from groundplane.apiserver.statuses import StatusError
from groundplane.base import jsonyaml

ISSUER = "https://kubernetes.default.svc.cluster.local"
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
KEYS = [Key(EC.public_key(), EC), Key(RSA.public_key(), RSA)]


def pem(key: Any, *, public: bool = False) -> bytes:
    encoding = serialization.Encoding.PEM
    if public:
        return bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    form = serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


class World:
    """A cluster with one account, one pod on one node, one secret."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.objects = FakeObjects()
        self.account = self.objects.add("serviceaccounts", "robot", "n")
        self.pod = self.objects.add("pods", "web", "n", spec={"serviceAccountName": "robot", "nodeName": "one"})
        self.objects.add("pods", "other", "n", spec={"serviceAccountName": "default"})
        self.objects.add("secrets", "s", "n")
        self.objects.add("nodes", "one")
        self.tokens = Tokens(ISSUER, lambda: KEYS, self.objects, self.clock)

    def request(self, ref: str = "", **spec: Any) -> dict[str, Any]:
        """A TokenRequest; `ref` is KIND/NAME or KIND/NAME/UID."""
        if ref:
            kind, name, *uid = ref.split("/")
            spec["boundObjectRef"] = {"kind": kind, "apiVersion": "v1", "name": name} | ({"uid": uid[0]} if uid else {})
        return self.tokens.request(self.account, {"spec": spec})

    def token(self, ref: str = "", **spec: Any) -> str:
        return str(self.request(ref, **spec)["status"]["token"])


@pytest.mark.parametrize("key", [EC, RSA], ids=["ec", "rsa"])
def test_a_key_signs_and_verifies(key: Any) -> None:
    private, public = Key.read(pem(key)), Key.read(pem(key, public=True))
    token = private.sign({"a": 1})
    assert private.id == public.id
    assert verify(token, [public]) == unverified(token) == {"a": 1}
    assert verify(token, KEYS) == {"a": 1}
    other = Key.read(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(BadToken, match="signature"):
        verify(token, [other])


def test_the_algorithm_is_the_keys_not_the_tokens() -> None:
    head, body, tail = KEYS[0].sign({"a": 1}).split(".")
    for algorithm in ("none", "HS256", "RS256", None):
        forged = base64.urlsafe_b64encode(jsonyaml.dumps({"alg": algorithm})).rstrip(b"=").decode()
        for signature in (tail, ""):
            with pytest.raises(BadToken):
                verify(f"{forged}.{body}.{signature}", KEYS)
    assert head


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.text("aA0._-=\u00e9", max_size=30), st.integers(0, 200), st.integers(1, 255))
def test_no_text_is_taken_for_a_token(text: str, at: int, flip: int) -> None:
    with pytest.raises(BadToken):
        verify(text, KEYS)
    good = bytearray(KEYS[0].sign({"a": 1}).encode())
    good[at % len(good)] ^= flip
    changed = good.decode("latin-1")
    try:
        claims = verify(changed, KEYS)
    except BadToken:
        return
    assert claims == {"a": 1}  # base64's last digit may have bits that say nothing


def test_jwks_shows_public_halves_only() -> None:
    keys = World().tokens.jwks()["keys"]
    assert [(k["kty"], k["alg"]) for k in keys] == [("EC", "ES256"), ("RSA", "RS256")]
    assert not any("d" in k for k in keys)
    discovery = World().tokens.discovery("https://192.0.2.1:6443")
    assert discovery["issuer"] == ISSUER
    assert discovery["jwks_uri"] == "https://192.0.2.1:6443/openid/v1/jwks"


def test_an_unbound_token() -> None:
    world = World()
    answer = world.request(expirationSeconds=700)
    assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 700, "boundObjectRef": None}
    assert answer["status"]["expirationTimestamp"] == "2023-11-14T22:25:00Z"
    claims = unverified(answer["status"]["token"])
    assert claims["kubernetes.io"] == {"namespace": "n", "serviceaccount": {"name": "robot", "uid": "uid-of-robot"}}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("system:serviceaccount:n:robot", 700)
    user, audiences = world.tokens.authenticate(answer["status"]["token"])
    assert (user.name, user.uid) == ("system:serviceaccount:n:robot", "uid-of-robot")
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:n")
    assert user.extra == {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
    assert audiences == [ISSUER]


def test_a_pods_token_tells_its_pod_and_node_and_lives_a_year() -> None:
    world = World()
    answer = world.request("Pod/web/uid-of-web", expirationSeconds=3607)
    claims = unverified(answer["status"]["token"])
    private = claims["kubernetes.io"]
    assert private["pod"] == {"name": "web", "uid": "uid-of-web"}
    assert private["node"] == {"name": "one", "uid": "uid-of-one"}
    assert private["warnafter"] == claims["iat"] + 3607
    assert claims["exp"] == claims["iat"] + 365 * 24 * 3600
    assert answer["status"]["expirationTimestamp"] == "2023-11-14T23:13:27Z"
    user, _ = world.tokens.authenticate(answer["status"]["token"])
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/node-uid"] == ("uid-of-one",)
    short = unverified(world.token("Pod/web", expirationSeconds=3607, audiences=["vault"]))
    assert short["exp"] == short["iat"] + 3607


@pytest.mark.parametrize(
    ("ref", "spec", "code", "message"),
    [
        (
            "",
            {"expirationSeconds": 5},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 5: may not '
            "specify a duration less than 10 minutes",
        ),
        ("", {"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32 seconds"),
        ("Pod/missing", {}, 404, 'pods "missing" not found'),
        ("Pod/other", {}, 400, 'cannot bind token for serviceaccount "robot" to pod running with different'),
        ("Pod/web/x", {}, 409, "the UID in the bound object reference (x) does not match the UID in record"),
        ("ConfigMap/c", {}, 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        ("Node/missing", {}, 404, 'nodes "missing" not found'),
    ],
)
def test_what_a_token_request_refuses(ref: str, spec: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        World().request(ref, **spec)
    assert caught.value.code == code
    assert message in str(caught.value)


def gone(resource: str, name: str, namespace: str = "n") -> Callable[[World], None]:
    return lambda world: world.objects.remove(resource, name, namespace)


def again(resource: str, name: str, namespace: str = "n") -> Callable[[World], None]:
    """The same name, another object."""
    return lambda world: world.objects.add(resource, name, namespace, uid="new") and None


def ending(resource: str, name: str) -> Callable[[World], None]:
    meta = {"deletionTimestamp": "2023-11-14T22:00:00Z"}  # thirteen minutes before the clock's start
    return lambda world: world.objects.add(resource, name, "n", metadata=meta) and None


@pytest.mark.parametrize(
    ("ref", "happens", "why"),
    [
        ("", gone("serviceaccounts", "robot"), "invalidated"),
        ("", again("serviceaccounts", "robot"), "does not match claim"),
        ("", ending("serviceaccounts", "robot"), "invalidated"),
        ("Pod/web", gone("pods", "web"), "invalidated"),
        ("Pod/web", again("pods", "web"), "does not match claim"),
        ("Pod/web", ending("pods", "web"), "invalidated"),
        ("Secret/s", gone("secrets", "s"), "invalidated"),
        ("Node/one", again("nodes", "one", ""), "does not match claim"),
    ],
)
def test_a_token_dies_with_what_it_is_bound_to(ref: str, happens: Callable[[World], None], why: str) -> None:
    world = World()
    token = world.token(ref)
    world.tokens.authenticate(token)
    happens(world)
    with pytest.raises(BadToken, match=why):
        world.tokens.authenticate(token)


def test_a_pods_token_outlives_its_node_and_the_first_minute_of_deletion() -> None:
    world = World()
    token = world.token("Pod/web")
    world.objects.remove("nodes", "one")
    world.pod["metadata"]["deletionTimestamp"] = "2023-11-14T22:13:00Z"
    world.tokens.authenticate(token)


def test_a_token_expires(run: Callable[[Any], None]) -> None:
    async def scenario() -> None:
        world = World()
        token = world.token(expirationSeconds=600)
        await world.clock.advance(600 + 60)  # other servers' clocks may be a minute off
        world.tokens.authenticate(token)
        await world.clock.advance(1)
        with pytest.raises(BadToken, match="expired"):
            world.tokens.authenticate(token)

    run(scenario())


def test_a_token_from_a_server_whose_clock_is_ahead(run: Callable[[Any], None]) -> None:
    async def scenario() -> None:
        world, ahead = World(), World()
        await ahead.clock.advance(59)
        world.tokens.authenticate(ahead.token())
        await ahead.clock.advance(30)
        with pytest.raises(BadToken, match="not valid yet"):
            world.tokens.authenticate(ahead.token())

    run(scenario())


def test_audiences() -> None:
    world = World()
    token = world.token(audiences=["vault", "db"])
    with pytest.raises(BadToken, match="invalid for the target audiences"):
        world.tokens.authenticate(token)
    assert world.tokens.authenticate(token, ["db", "x"])[1] == ["db"]


def test_another_clusters_token_is_refused() -> None:
    world = World()
    claims = unverified(world.token()) | {"iss": "https://elsewhere.example"}
    with pytest.raises(BadToken, match="issuer"):
        world.tokens.authenticate(KEYS[0].sign(claims))
    for claims in ({"iss": ISSUER, "aud": ISSUER}, {"iss": ISSUER, "aud": [ISSUER], "exp": 2e9, "kubernetes.io": {}}):
        with pytest.raises(BadToken):
            world.tokens.authenticate(KEYS[0].sign(claims))
