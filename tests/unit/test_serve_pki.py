"""The certification authority: what is made, with which modes, when it is made again, and that TLS works with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from groundplane.base import jsonyaml
from groundplane.serve.pki import Pair, Pki, PkiError, api_server_names
from groundplane.serve.tls import TlsError, client_context, server_context

NAMES = api_server_names("host", "192.0.2.7", "10.96.0.1", "cluster.local")


def everything(directory: Path) -> Pki:
    pki = Pki(str(directory))
    pki.server("apiserver", "kube-apiserver", NAMES)
    pki.client("admin", "kubernetes-admin", ["system:masters"])
    pki.front_proxy_client()
    pki.service_account_key()
    return pki


def told(pair: Pair) -> dict[str, object]:
    first = Path(pair.certificate).read_bytes().partition(b"\n")[0]
    found: dict[str, object] = jsonyaml.loads(first.removeprefix(b"# groundplane: "))
    return found


def test_files_have_their_modes(state_root: Path) -> None:
    previous = os.umask(0)
    try:
        everything(state_root / "pki")
    finally:
        os.umask(previous)
    assert (state_root / "pki").stat().st_mode & 0o777 == 0o700
    modes = {p.name: p.stat().st_mode & 0o777 for p in (state_root / "pki").iterdir()}
    assert set(modes) == {
        *("ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "admin.crt", "admin.key", "sa.key", "sa.pub"),
        *("front-proxy-ca.crt", "front-proxy-ca.key", "front-proxy-client.crt", "front-proxy-client.key"),
    }
    assert {m for n, m in modes.items() if n.endswith(".key")} == {0o600}
    assert {m for n, m in modes.items() if not n.endswith(".key")} == {0o644}


def test_what_is_there_is_kept_and_cryptography_is_not_imported(state_root: Path) -> None:
    everything(state_root)
    before = {p.name: p.read_bytes() for p in state_root.iterdir()}
    code = (
        "import sys; from pathlib import Path; from tests.unit.test_serve_pki import everything;"
        f"everything(Path({str(state_root)!r})); assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert {p.name: p.read_bytes() for p in state_root.iterdir()} == before


def test_new_names_make_a_new_certificate(state_root: Path) -> None:
    pki = everything(state_root)
    before = Path(pki.ca.certificate).read_bytes()
    pair = pki.server("apiserver", "kube-apiserver", [*NAMES, "other.example"])
    assert "other.example" in told(pair)["names"]  # type: ignore[operator]
    assert Path(pki.ca.certificate).read_bytes() == before


def test_a_new_authority_voids_what_the_old_one_signed(state_root: Path) -> None:
    admin = everything(state_root).client("admin", "kubernetes-admin", ["system:masters"])
    before = Path(admin.certificate).read_bytes()
    (state_root / "ca.crt").unlink()
    everything(state_root)
    assert Path(admin.certificate).read_bytes() != before
    client_context(str(state_root / "ca.crt"), admin)


def test_a_certificate_near_its_end_is_made_again(state_root: Path) -> None:
    pki = everything(state_root)
    pair = pki.client("admin", "kubernetes-admin", ["system:masters"])
    text = Path(pair.certificate).read_bytes()
    first, _, rest = text.partition(b"\n")
    old = jsonyaml.dumps({**told(pair), "not_after": 1_000_000_000})
    Path(pair.certificate).write_bytes(b"# groundplane: " + old + b"\n" + rest)
    pki.client("admin", "kubernetes-admin", ["system:masters"])
    assert told(pair)["not_after"] != 1_000_000_000
    assert first != b""


def test_somebody_elses_certificate_is_left_alone(state_root: Path) -> None:
    pki = everything(state_root)
    pair = pki.client("admin", "kubernetes-admin", ["system:masters"])
    own = Path(pair.certificate).read_bytes().partition(b"\n")[2]
    Path(pair.certificate).write_bytes(own)
    pki.client("admin", "kubernetes-admin", ["system:masters"])
    assert Path(pair.certificate).read_bytes() == own


def test_a_damaged_key_is_told(state_root: Path) -> None:
    pki = everything(state_root)
    Path(pki.ca.key).write_text("nonsense")
    with pytest.raises(PkiError, match=r"ca\.key"):
        Pki(str(state_root)).client("new", "somebody")
    Path(pki.client("admin", "kubernetes-admin", ["system:masters"]).key).write_text("nonsense")
    with pytest.raises(TlsError, match=r"admin\.crt"):
        client_context(pki.ca.certificate, Pair(f"{state_root}/admin.crt", f"{state_root}/admin.key"))


def test_a_directory_that_cannot_be_made_is_told(state_root: Path) -> None:
    (state_root / "file").write_text("")
    with pytest.raises(PkiError, match="cannot make"):
        Pki(f"{state_root}/file/pki")


def test_tls_with_and_without_a_client_certificate(state_root: Path) -> None:
    pki = everything(state_root)
    server = server_context(pki.server("apiserver", "kube-apiserver", NAMES), pki.ca.certificate)
    admin = pki.client("admin", "kubernetes-admin", ["system:masters"])
    other = everything(state_root / "other")
    stranger = other.client("admin", "kubernetes-admin", ["system:masters"])

    async def shown(context: ssl.SSLContext, name: str) -> str:
        """What the server sees of the client."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            certificate = writer.get_extra_info("peercert") or {}
            writer.write(repr(certificate.get("subject")).encode())
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
            answer = (await reader.read()).decode()
            writer.close()
            return answer

    ca = pki.ca.certificate
    assert "kubernetes-admin" in asyncio.run(shown(client_context(ca, admin), "kubernetes.default.svc"))
    assert "system:masters" in asyncio.run(shown(client_context(ca, admin), "10.96.0.1"))
    assert asyncio.run(shown(client_context(ca), "localhost")) == "None"
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(shown(client_context(ca), "elsewhere.example"))
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(shown(client_context(other.ca.certificate), "localhost"))
    # In TLS 1.3 the client is done before the server has judged: the refusal is an alert, or a closed connection.
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert asyncio.run(shown(client_context(ca, stranger), "localhost")) == ""


def test_strict_clients_take_our_certificates(state_root: Path) -> None:
    """Python's default since 3.13 (VERIFY_X509_STRICT, RFC 5280): key usages and key identifiers are asked for."""
    pki = everything(state_root)
    server = server_context(pki.server("apiserver", "kube-apiserver", NAMES), pki.ca.certificate)
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    client = ssl.create_default_context(cafile=pki.ca.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    admin = pki.client("admin", "kubernetes-admin", ["system:masters"])
    client.load_cert_chain(admin.certificate, admin.key)

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        for side in (theirs, ours):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert theirs.getpeercert() and ours.getpeercert()
