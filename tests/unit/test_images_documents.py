"""Manifests, indexes, configurations and names: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.base.jsonyaml import dumps
from groundplane.oci import image
from groundplane.oci.image import Descriptor, ImageDocumentError, Index, Manifest, read_index, read_manifest
from groundplane.oci.image_config import chain_id, read_config
from groundplane.oci.image_names import BadReference, parse_reference

DIGEST = "sha256:" + "a" * 64


def manifest(**changes: Any) -> bytes:
    config = {"mediaType": image.CONFIG, "digest": DIGEST, "size": 2}
    layer = {"mediaType": image.LAYER_TAR, "digest": DIGEST, "size": 10}
    return dumps({"schemaVersion": 2, "mediaType": image.MANIFEST, "config": config, "layers": [layer], **changes})


def config(**changes: Any) -> bytes:
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIGEST]}}
    return dumps({**document, **changes})


def test_manifest_round_trip() -> None:
    written = Manifest(Descriptor(image.CONFIG, DIGEST, 2), (Descriptor(image.LAYER_TAR, DIGEST, 10),))
    assert read_manifest(written.encode()) == written


def test_index_round_trip() -> None:
    written = Index((Descriptor(image.MANIFEST, DIGEST, 2, {"org.opencontainers.image.ref.name": "x"}),))
    assert read_index(written.encode()) == written


def test_docker_manifests_are_read() -> None:
    assert read_manifest(manifest(mediaType=image.DOCKER_MANIFEST)).media_type == image.DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a JSON document"),
        (b"[]", "a JSON object expected"),
        (manifest(schemaVersion=1), "schemaVersion must be 2"),
        (manifest(schemaVersion=True), "schemaVersion must be 2"),
        (manifest(layers={}), "layers: a list expected"),
        (manifest(config=None), "config: a JSON object expected"),
        (manifest(mediaType="text/plain"), "is not an image manifest"),
        (manifest(manifests=[]), "an index"),
        (manifest(config={"mediaType": "x", "digest": "md5:1", "size": 1}), "a digest"),
        (manifest(config={"mediaType": "x", "digest": DIGEST.upper(), "size": 1}), "a digest"),
        (manifest(config={"mediaType": "x", "digest": DIGEST + "\n", "size": 1}), "a digest"),
        (manifest(config={"mediaType": "x", "digest": DIGEST, "size": -1}), "a number of bytes"),
        (manifest(config={"mediaType": "x", "digest": DIGEST, "size": True}), "a number of bytes"),
        (manifest(layers=[None]), "layers[0]: a JSON object expected"),
        (manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": 1}] * 501), "501 layers"),
        (manifest(annotations={"a": 1}), "annotations['a']: a string expected"),
        (b" " * (image.MAX_DOCUMENT + 1), "more than"),
    ],
)
def test_wrong_manifests_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageDocumentError) as caught:
        read_manifest(data)
    assert words in str(caught.value)


def test_configuration_is_read() -> None:
    settings = {
        "Env": ["A=b=c"],
        "Cmd": ["x"],
        "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"k": "v"},
    }
    found = read_config(config(config=settings))
    assert (found.env, found.cmd, found.working_dir) == (("A=b=c",), ("x",), "/w")
    assert (found.exposed_ports, found.labels, found.diff_ids) == (("80/tcp",), {"k": "v"}, (DIGEST,))


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": None},
        {"rootfs": {"type": "tree"}},
        {"rootfs": {"type": "layers", "diff_ids": ["x"]}},
        {"config": []},
        {"config": {"Env": ["NOVALUE"]}},
        {"config": {"Env": "A=b"}},
        {"config": {"Cmd": [1]}},
        {"config": {"User": 0}},
        {"config": {"ExposedPorts": ["80"]}},
        {"architecture": 5},
    ],
)
def test_wrong_configurations_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageDocumentError):
        read_config(config(**changes))


def test_chain_id_is_the_specifications() -> None:
    """config.md's recursion, computed by hand for two layers."""
    from hashlib import sha256

    two = ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
    assert chain_id(two[:1]) == two[0]
    assert chain_id(two) == "sha256:" + sha256(" ".join(two).encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        (f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
        ("a_b__c-d.e", "docker.io/library/a_b__c-d.e:latest", "a_b__c-d.e:latest"),
    ],
)
def test_names_are_written_out_and_shortened(text: str, full: str, familiar: str) -> None:
    reference = parse_reference(text).with_default_tag()
    assert (reference.full, reference.familiar) == (full, familiar)


@pytest.mark.parametrize(
    "text", ["", "A", "a:", "a//b", "-a", "a@sha256:1", "a b", "a:" + "t" * 129, "b" * 256, "f" * 64]
)
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse_reference(text)
