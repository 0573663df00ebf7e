"""An etcd behind TLS, client certificates and its own users: what the URL's options are for."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.fakes.etcd import Cluster, Member

from groundplane.store.contract import StoreError, StoreUnavailable
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")


def certificates(directory: Path) -> None:
    """ca.crt, and both.crt with its key for servers and clients: etcd's gateway is a client of its own server.

    The authority has no key usage and no key identifiers, as old scripts make it: etcd and upstream take that.
    """
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd")])
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd-ca")])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        dated = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        return dated.serial_number(x509.random_serial_number())

    ca = builder(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = builder(name, key.public_key()).add_extension(uses, critical=False).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    (directory / "ca.crt").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (directory / "both.crt").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "both.key").write_bytes(private)


@contextmanager
def secured(root: Path) -> Iterator[Cluster]:
    certificates(root)
    files = [str(root / n) for n in ("ca.crt", "both.crt", "both.key")]
    context = ssl.create_default_context(cafile=files[0])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    context.load_cert_chain(files[1], files[2])
    options = (
        f"--trusted-ca-file={files[0]}", f"--cert-file={files[1]}", f"--key-file={files[2]}", "--client-cert-auth",
    )  # fmt: skip
    server = Cluster([Member(root, "m0", "127.0.0.1", options, lambda work: work(), context)])
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_tls_with_client_certificates(state_root: Path) -> None:
    async def scenario(server: Cluster) -> None:
        ca, certificate, key = (state_root / n for n in ("ca.crt", "both.crt", "both.key"))
        store = await open_store(server.url(cafile=ca, certfile=certificate, keyfile=key))
        watch = store.watch("/", store.revision)
        revision = await store.create("/a", b"1")
        assert [e.revision for e in watch.pending()] == [revision]
        await store.close()
        for without in ({"cafile": ca}, {}):
            with pytest.raises(StoreUnavailable, match="no member of etcd answers"):
                await open_store(server.url(timeout=0.3, **without))
        with pytest.raises(StoreError, match=r"cannot use the TLS files.*nowhere"):
            await open_store(server.url(cafile="/nowhere/ca.crt"))

    with secured(state_root) as server:
        asyncio.run(scenario(server))


def _text(key: str) -> str:
    return b64encode(key.encode()).decode()


def allow(member: Member) -> None:
    """User `ground`, who may use `/cluster/` and nothing else."""
    everything = {"permType": "READWRITE", "key": _text("/cluster/"), "range_end": _text("/cluster0")}
    for path, body in (
        ("user/add", {"name": "root", "password": "r00t"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("role/add", {"name": "cluster"}),
        ("role/grant", {"name": "cluster", "perm": everything}),
        ("user/add", {"name": "ground", "password": "s3cret"}),
        ("user/grant", {"user": "ground", "role": "cluster"}),
        ("enable", {}),
    ):  # fmt: skip
        told = member.call(f"/v3/auth/{path}", **body)
        assert "error" not in told, told


def test_a_user_of_etcd_signs_in_and_again(state_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: Cluster) -> None:
        [member] = server.members
        password = state_root / "password"
        password.write_text("s3cret\n")
        url = server.url("/cluster", user="ground", passwordfile=password)
        store = await open_store(url)
        try:
            watch = store.watch("/", store.revision)
            first = await store.create("/registry/a", b"1")
            lease = await store.grant(60)
            second = await store.create("/registry/b", b"1", lease=lease)
            await store.compact(second)
            assert (await store.status()).keys == 2 and await store.check() == []
            await store.backup(str(state_root / "backup"))
            await store.revoke(lease)
            member.kill()  # its tokens are gone with it
            await asyncio.to_thread(server.restart, member)
            third = await store.update("/registry/a", b"2", first)
            assert [e.revision for e in watch.pending()][::3] == [first, third]
        finally:
            await store.close()
        with pytest.raises(StoreError, match="permission denied"):
            await open_store(server.url("/other", user="ground", passwordfile=password))
        with pytest.raises(StoreError, match="user name is empty"):
            await open_store(server.url("/cluster"))
        password.write_text("wrong")
        with pytest.raises(StoreError, match="authentication failed"):
            await open_store(url)
        with pytest.raises(StoreError, match="cannot read the password"):
            await open_store(server.url("/cluster", user="ground", passwordfile="/nowhere/password"))

    with secured_by_users(state_root) as server:
        asyncio.run(asyncio.wait_for(scenario(server), 120))
    assert "s3cret" not in caplog.text


@contextmanager
def secured_by_users(root: Path) -> Iterator[Cluster]:
    server = Cluster([Member(root, "m0", "127.0.0.1", (), lambda work: work())])
    try:
        server.start()
        allow(server.members[0])
        yield server
    finally:
        server.close()
