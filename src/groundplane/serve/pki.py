"""Our certification authority: one directory of keys and certificates, each made once and kept until it nears its end.

    pki/ca.crt ca.key                        signs everything that follows
        apiserver.crt apiserver.key          the API server, by all its names
        apiserver-kubelet-client.crt .key    the API server towards kubelets          O=system:masters
        admin.crt admin.key                  the first user                           O=system:masters
        scheduler, controller-manager …      system:kube-scheduler, …                 as kubeadm names them
        kubelet-NODE.crt .key                system:node:NODE                         O=system:nodes
        kubelet-server-NODE.crt .key         the kubelet's own server
    pki/front-proxy-ca.crt .key, front-proxy-client.crt .key   aggregation (RequestHeader)
    pki/sa.key sa.pub                        service account tokens

Keys are EC P-256: made in 0.2 ms, where RSA takes 100. A file is written under another name with its mode and then
renamed, key before certificate, so that a certificate that is there has its key. What a certificate was made for is
told in a line above it (text outside the PEM block is ignored by every reader), so that a start that has nothing to
make does not import `cryptography`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundplane.base import files, jsonyaml
from groundplane.base.errors import GroundError

if TYPE_CHECKING:
    from groundplane.serve.certificates import Signer

_MARK = b"# groundplane: "
_RENEW_BEFORE = 90 * 24 * 3600.0
_LIFE_CA = 10 * 365
_LIFE_LEAF = 365


class PkiError(GroundError):
    """A key or certificate cannot be read or made."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of a PEM certificate and its PEM key."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate is for. `names` are DNS names and addresses; a certificate with names serves, else it asks."""

    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Pki:
    """The directory. Every method makes what is missing or nearly over and returns paths; it never waits."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._signers: dict[str, Signer] = {}
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise PkiError(f"certificates: cannot make {directory}: {error.strerror}") from error

    @property
    def ca(self) -> Pair:
        """The authority itself."""
        return self._authority("ca", "kubernetes")

    @property
    def front_proxy_ca(self) -> Pair:
        """The authority of aggregated API servers' front proxy."""
        return self._authority("front-proxy-ca", "front-proxy-ca")

    def server(self, name: str, common_name: str, names: Sequence[str], organizations: Sequence[str] = ()) -> Pair:
        """A server's certificate for DNS names and addresses; made anew where they have changed."""
        wanted = Wanted(common_name, tuple(organizations), tuple(sorted(set(names))))
        return self._leaf(name, wanted, "ca", "kubernetes")

    def client(self, name: str, common_name: str, organizations: Sequence[str] = ()) -> Pair:
        """A client's certificate: `common_name` is the user, `organizations` its groups."""
        return self._leaf(name, Wanted(common_name, tuple(organizations)), "ca", "kubernetes")

    def front_proxy_client(self) -> Pair:
        """What the API server shows to aggregated API servers."""
        return self._leaf("front-proxy-client", Wanted("front-proxy-client"), "front-proxy-ca", "front-proxy-ca")

    def service_account_key(self) -> Pair:
        """The key that signs service account tokens (`key`), and its public half (`certificate`)."""
        pair = Pair(self._path("sa.pub"), self._path("sa.key"))
        if not os.path.exists(pair.key) or not os.path.exists(pair.certificate):
            from groundplane.serve import certificates  # late: 30 ms that only a first start needs

            private, public = certificates.key_pair(_read(pair.key) if os.path.exists(pair.key) else None)
            self._write("sa.key", private, 0o600)
            self._write("sa.pub", public, 0o644)
        return pair

    def _authority(self, name: str, common_name: str) -> Pair:
        pair = self._pair(name)
        if not self._good(pair, Wanted(common_name), renew_before=0.0):
            from groundplane.serve import certificates

            signer = self._signers[name] = certificates.authority(common_name, _LIFE_CA)
            self._store(name, signer.key_pem, signer.certificate_pem, Wanted(common_name), signer.not_after)
        return pair

    def _leaf(self, name: str, wanted: Wanted, authority: str, authority_name: str) -> Pair:
        pair, above = self._pair(name), self._authority(authority, authority_name)
        issuer = _fingerprint(above.certificate)
        if not self._good(pair, wanted, issuer=issuer):
            signer = self._signer(authority, above)
            made = signer.issue(wanted.common_name, wanted.organizations, wanted.names, _LIFE_LEAF)
            self._store(name, made.key, made.certificate, wanted, made.not_after, issuer)
        return pair

    def _signer(self, name: str, pair: Pair) -> Signer:
        if name not in self._signers:
            from groundplane.serve import certificates

            try:
                self._signers[name] = certificates.load_signer(_read(pair.key), _read(pair.certificate))
            except ValueError as error:
                raise PkiError(f"certificates: {pair.key} or {pair.certificate} is damaged: {error}") from error
        return self._signers[name]

    def _good(self, pair: Pair, wanted: Wanted, issuer: str = "", renew_before: float = _RENEW_BEFORE) -> bool:
        """Whether the pair is there, was made for this, by this authority, and has time left."""
        if not (os.path.exists(pair.certificate) and os.path.exists(pair.key)):
            return False
        first = _read(pair.certificate).partition(b"\n")[0]
        if not first.startswith(_MARK):
            return True  # somebody's own certificate: theirs to renew
        try:
            told = jsonyaml.loads(first[len(_MARK) :])
        except jsonyaml.DecodeError:
            return False
        made_for = {k: told.get(k) for k in ("common_name", "organizations", "names", "issuer")}
        return made_for == _told(wanted, issuer) and told.get("not_after", 0) - renew_before > time.time()

    def _store(
        self, name: str, key: bytes, certificate: bytes, wanted: Wanted, not_after: float, issuer: str = ""
    ) -> None:
        line = _MARK + jsonyaml.dumps({**_told(wanted, issuer), "not_after": int(not_after)}) + b"\n"
        # The old certificate goes first: between the two renames there must be no certificate with another's key.
        with suppress(FileNotFoundError):
            os.unlink(self._path(f"{name}.crt"))
        self._write(f"{name}.key", key, 0o600)
        self._write(f"{name}.crt", line + certificate, 0o644)

    def _write(self, name: str, data: bytes, mode: int) -> None:
        path = self._path(name)
        try:
            files.replace(path, data, mode=mode, durable=True)
        except OSError as error:
            raise PkiError(f"certificates: cannot write {path}: {error.strerror}") from error

    def _pair(self, name: str) -> Pair:
        return Pair(self._path(f"{name}.crt"), self._path(f"{name}.key"))

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _told(wanted: Wanted, issuer: str) -> dict[str, object]:
    return {
        "common_name": wanted.common_name,
        "organizations": list(wanted.organizations),
        "names": list(wanted.names),
        "issuer": issuer,
    }


def _fingerprint(path: str) -> str:
    """What tells one authority from the next: a new one makes every certificate below it void."""
    import hashlib  # late: 1 ms

    return hashlib.sha256(_read(path)).hexdigest()[:16]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PkiError(f"certificates: cannot read {path}: {error.strerror}") from error


def api_server_names(host: str, node_ip: str, service_ip: str, domain: str) -> list[str]:
    """All the names by which clients reach the API server (kubeadm's list)."""
    names = ["localhost", host, "127.0.0.1", "::1", node_ip, service_ip]
    names += ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"]
    return [n for n in names if n]
