"""What an etcd URL says: `etcd://host:2379,host:2379/prefix?cafile=…&certfile=…&keyfile=…&user=…&passwordfile=…`.

The words are those of kube-apiserver's flags (--etcd-servers, --etcd-prefix, --etcd-cafile, --etcd-certfile,
--etcd-keyfile). Files are named, never shown: a URL may be read by anyone in the list of processes.

    prefix        before every key; empty by default. An upstream server shares the data with `--etcd-prefix
                  PREFIX/registry`.
    cafile        who signs the members' certificates; TLS is spoken where it is given
    certfile,     the client certificate and its key
    keyfile
    user,         a user of etcd's own authentication and the file that holds the password
    passwordfile
    timeout       seconds a member may take to answer before another one is asked (5)
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from groundplane.base.errors import UsageError

_TIMEOUT = 5.0
_PORT = 2379
_KNOWN = ("cafile", "certfile", "keyfile", "user", "passwordfile", "timeout")


@dataclass(frozen=True, slots=True)
class Target:
    """Which etcd, and how to speak with it."""

    members: tuple[str, ...]  # `http://host:port`
    prefix: str = ""
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    user: str = ""
    passwordfile: str = ""
    timeout: float = _TIMEOUT


def parse(url: str) -> Target:
    """Raises UsageError."""
    # By hand, because urlsplit() refuses a list of hosts with an IPv6 address in it since Python 3.12.
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    hosts, slash, prefix = place.partition("/")
    if scheme != "etcd" or not hosts:
        raise UsageError("store url: etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?…] expected")
    if "@" in hosts:
        raise UsageError("store url: no user or password before the hosts; give user=NAME&passwordfile=FILE behind `?`")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(_KNOWN)):
        raise UsageError(f"store url: unknown option {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    _check_pairs(options)
    spoken = "https" if options.get("cafile") else "http"
    members = tuple(f"{spoken}://{_with_port(host)}" for host in hosts.split(",") if host)
    try:
        timeout = float(options.pop("timeout", _TIMEOUT))
    except ValueError:
        timeout = 0.0
    if not timeout > 0:
        raise UsageError("store url: timeout: a number of seconds expected")
    return Target(members, unquote(slash + prefix).rstrip("/"), timeout=timeout, **options)


def _check_pairs(options: dict[str, str]) -> None:
    for one, other in (("certfile", "keyfile"), ("keyfile", "certfile"), ("user", "passwordfile")):
        if options.get(one) and not options.get(other):
            raise UsageError(f"store url: {one} needs {other} too")
    if options.get("passwordfile") and not options.get("user"):
        raise UsageError("store url: passwordfile needs user too")
    if options.get("certfile") and not options.get("cafile"):
        raise UsageError("store url: certfile needs cafile too: TLS is spoken where it is given")


def _with_port(host: str) -> str:
    return host if host.rpartition("]")[2].rpartition(":")[1] else f"{host}:{_PORT}"
