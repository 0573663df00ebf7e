"""Who each loop is, by upstream's names, and how it gets to the API server: inside the process, or over TLS."""

from __future__ import annotations

from collections.abc import Callable

from groundplane.apiserver.access.contract import User
from groundplane.apiserver.server import ApiServer
from groundplane.base.clock import Clock
from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.https import HttpsTransport

_AUTHENTICATED = "system:authenticated"

ADMIN = User("kubernetes-admin", groups=("system:masters", _AUTHENTICATED))
SCHEDULER = User("system:kube-scheduler", groups=(_AUTHENTICATED,))
CONTROLLER_MANAGER = User("system:kube-controller-manager", groups=(_AUTHENTICATED,))
PROXY = User("system:kube-proxy", groups=("system:node-proxier", _AUTHENTICATED))

Clients = Callable[[User, str], Client]
"""(identity, agent) → client. `agent` is what managedFields and the log call the caller."""


def node(name: str) -> User:
    return User(f"system:node:{name}", groups=("system:nodes", _AUTHENTICATED))


def controller(account: str) -> User:
    """A controller's service account in kube-system, to which upstream's bootstrap roles are bound."""
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", _AUTHENTICATED)
    return User(f"system:serviceaccount:kube-system:{account}", groups=groups)


def local(server: ApiServer) -> Clients:
    """Clients of an API server in this process."""
    return lambda user, agent: Client(server.transport(user, agent))


class Remote:
    """Clients over one TLS transport; whoever the kubeconfig names is the identity, whatever is asked for."""

    def __init__(self, path: str, clock: Clock, agent: str = "groundplane") -> None:
        """Raises KubeconfigError."""
        self._client = Client(HttpsTransport(kubeconfig.load(path), clock, agent))

    def __call__(self, user: User, agent: str) -> Client:
        return self._client

    async def close(self) -> None:
        await self._client.close()
