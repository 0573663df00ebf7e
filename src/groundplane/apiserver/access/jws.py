"""Compact JSON Web Signatures (RFC 7515), ES256 and RS256, for service account tokens and nothing else.

The algorithm is bound to the key, never taken from the token: a token that names another is refused (RFC 8725, 3.1).
`cryptography` is imported with the first key, because a server whose clients all have certificates never needs it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from groundplane.base import jsonyaml
from groundplane.base.errors import GroundError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

Claims = dict[str, Any]
_MAX_TOKEN = 65_536  # longer than any header line that is let in


class BadToken(GroundError):
    """The text is no token of ours; the sentence is shown in a TokenReview only."""


class Key:
    """A public key, and the private one where this server signs."""

    def __init__(self, public: EllipticCurvePublicKey | RSAPublicKey, private: Any = None) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        self._public = public
        self._private: EllipticCurvePrivateKey | RSAPrivateKey | None = private
        self.algorithm = "ES256" if isinstance(public, EllipticCurvePublicKey) else "RS256"
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        # As upstream (pkg/serviceaccount/jwt.go, keyIDFromPublicKey), so that tokens survive a change of server.
        self.id = _encode(hashlib.sha256(der).digest())

    @classmethod
    def read(cls, pem: bytes) -> Key:
        """From a PEM private or public key, EC P-256 or RSA. Raises ValueError."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

        if b"PRIVATE KEY-----" in pem:
            private = serialization.load_pem_private_key(pem, None)
            if not isinstance(private, EllipticCurvePrivateKey | RSAPrivateKey):
                raise ValueError("an EC P-256 or RSA key expected")
            return cls(private.public_key(), private)
        public = serialization.load_pem_public_key(pem)
        if not isinstance(public, EllipticCurvePublicKey | RSAPublicKey):
            raise ValueError("an EC P-256 or RSA key expected")
        return cls(public)

    def sign(self, claims: Claims) -> str:
        """The compact token of `claims`."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        header = {"alg": self.algorithm, "kid": self.id}
        text = f"{_encode(jsonyaml.dumps(header))}.{_encode(jsonyaml.dumps(claims))}".encode()
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            r, s = utils.decode_dss_signature(self._private.sign(text, ec.ECDSA(SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")  # RFC 7518, 3.4
        else:
            assert self._private is not None, "a public key cannot sign"
            signature = self._private.sign(text, padding.PKCS1v15(), SHA256())
        return f"{text.decode()}.{_encode(signature)}"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` of `text` was made by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            if isinstance(self._public, ec.EllipticCurvePublicKey):
                if len(signature) != 64:
                    return False
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                self._public.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(SHA256()))
            else:
                self._public.verify(signature, text, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def to_jwk(self) -> Claims:
        """The public half as a JSON Web Key (RFC 7517)."""
        from cryptography.hazmat.primitives.asymmetric import ec

        jwk: Claims = {"use": "sig", "alg": self.algorithm, "kid": self.id}
        numbers: Any = self._public.public_numbers()
        if isinstance(self._public, ec.EllipticCurvePublicKey):
            parts = {"x": numbers.x.to_bytes(32, "big"), "y": numbers.y.to_bytes(32, "big")}
            return jwk | {"kty": "EC", "crv": "P-256"} | {k: _encode(v) for k, v in parts.items()}
        parts = {k: v.to_bytes((v.bit_length() + 7) // 8, "big") for k, v in (("n", numbers.n), ("e", numbers.e))}
        return jwk | {"kty": "RSA"} | {k: _encode(v) for k, v in parts.items()}


def unverified(token: str) -> Claims:
    """The claims of a token whose signature nobody has checked yet. Raises BadToken."""
    if len(token) > _MAX_TOKEN or token.count(".") != 2:
        raise BadToken("token is no compact JWS")
    claims = _json(token.split(".")[1])
    if not isinstance(claims, dict):
        raise BadToken("token has no claims")
    return claims


def verify(token: str, keys: list[Key]) -> Claims:
    """The claims of a token that one of `keys` signed. Raises BadToken."""
    claims = unverified(token)
    head, body, tail = token.split(".")
    header = _json(head)
    if not isinstance(header, dict) or "crit" in header:
        raise BadToken("token has no header that is understood")
    text, signature = f"{head}.{body}".encode(), _decode(tail)
    kid, algorithm = header.get("kid"), header.get("alg")
    for key in keys:
        if algorithm == key.algorithm and kid in (None, "", key.id) and key.verifies(text, signature):
            return claims
    raise BadToken("token's signature does not match any known key")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadToken("token is not base64url") from error


def _json(text: str) -> Any:
    try:
        return jsonyaml.loads(_decode(text))
    except jsonyaml.DecodeError as error:
        raise BadToken("token is not JSON") from error
