"""A cluster elsewhere that this host joins as a node: its kubeconfig, and the certificate of the kubelet's server.

The API server speaks to kubelets whose certificate the cluster's authority has signed. That certificate is given as two
files; where the kubeconfig lies in the root of an API server on this host (`ground apiserver --root`), it is made.
"""

from __future__ import annotations

import os
import ssl

from groundplane.base.clock import Clock
from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings
from groundplane.client import kubeconfig
from groundplane.daemon.identities import Remote
from groundplane.daemon.noderole import kubelet_context
from groundplane.serve import tls
from groundplane.serve.pki import Pair, Pki


class JoinError(GroundError):
    """The cluster cannot be joined with what was given."""


class Join:
    """`clients` of the cluster, whoever the kubeconfig names. Close it at the end."""

    def __init__(self, path: str, pair: Pair | None, clock: Clock) -> None:
        """`pair` is the server's certificate where it was given. Raises KubeconfigError, JoinError."""
        self._path = path
        self._ca = kubeconfig.load(path).ca
        self._pair = pair
        if not self._ca:
            raise JoinError(f"kubeconfig {path}: certificate-authority-data is needed, to know clients of the kubelet")
        self._remote = Remote(path, clock, "kubelet")

    @property
    def clients(self) -> Remote:
        return self._remote

    def kubelet_context(self, settings: Settings, name: str) -> ssl.SSLContext:
        """TLS of the kubelet's server. Raises JoinError, TlsError, PkiError."""
        pki = os.path.join(os.path.dirname(os.path.abspath(self._path)), "pki")
        if self._pair is None:
            if not os.path.exists(os.path.join(pki, "ca.key")):
                raise JoinError(
                    "the kubelet's server needs a certificate of the cluster's authority for"
                    f" {name} and {settings.node_ip}: give --tls-cert-file and --tls-private-key-file"
                )
            return kubelet_context(Pki(pki), name, settings.node_ip)
        authority = os.path.join(settings.root, "node", "client-ca.crt")
        os.makedirs(os.path.dirname(authority), mode=0o755, exist_ok=True)
        with open(authority, "wb") as file:
            file.write(self._ca)
        return tls.server_context(self._pair, authority)

    async def close(self) -> None:
        await self._remote.close()
