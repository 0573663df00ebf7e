"""The image store: names, resolution, removal with Docker's rules, blobs that are what their names say."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.images import Users, image, member, store, tar

from groundplane.engine.contract import Conflicting, EngineError, NoSuchImage
from groundplane.engine.images.blobs import BlobError, Blobs

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LAYER = tar(member("a", b"1"))


def blobs_of(root: Path) -> set[str]:
    return set(os.listdir(root / "images" / "blobs" / "sha256"))


def test_resolve_by_every_kind_of_name(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        images = store(tmp_path)
        made = await image(images, "app:1", LAYER)
        hexadecimal = made.id.removeprefix("sha256:")
        for name in ("app:1", "docker.io/library/app:1", made.id, hexadecimal, hexadecimal[:12], f"app@{made.digest}"):
            assert images.resolve(name).id == made.id
        for name in ("app", "app:2", "other", "f" * 64, f"other@{made.digest}", "", "UPPER"):
            with pytest.raises(NoSuchImage):
                images.resolve(name)
        with pytest.raises(NoSuchImage, match="No such image: app:latest"):
            images.resolve("app")

    run(work())


def test_names_survive_a_restart(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        made = await image(store(tmp_path), "app", LAYER)
        again = store(tmp_path)
        assert [(i.id, list(i.names)) for i in again.list()] == [(made.id, ["app:latest"])]
        assert (tmp_path / "images" / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'

    run(work())


def test_a_name_moves_and_leaves_a_nameless_image(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        images = store(tmp_path)
        first = await image(images, "app", LAYER)
        second = await image(images, "app", tar(member("b", b"2")))
        assert images.resolve("app").id == second.id
        assert {i.id: list(i.names) for i in store(tmp_path).list()} == {first.id: [], second.id: ["app:latest"]}
        assert await images.remove(first.id) == [f"Deleted: {first.id}"]

    run(work())


def test_remove_by_name_keeps_what_others_need(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        users = Users()
        images = store(tmp_path, users)
        made = await image(images, "app", LAYER)
        other = await image(images, "other", LAYER, author="x")
        await images.tag("app", "app:two")
        assert await images.remove("app:two") == ["Untagged: app:two"]
        assert await images.remove("app") == ["Untagged: app:latest", f"Deleted: {made.id}"]
        assert users.kept == [{"sha256:" + _digest(LAYER)}]
        assert images.resolve("other").id == other.id
        await images.remove("other")
        assert blobs_of(tmp_path) == set()
        with pytest.raises(NoSuchImage):
            await images.remove("app")

    run(work())


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_used_images_are_refused_in_dockers_words(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        users = Users()
        images = store(tmp_path, users)
        made = await image(images, "app", LAYER)
        short = made.id.removeprefix("sha256:")[:12]
        users.containers[made.id] = [("c" * 64, False)]
        with pytest.raises(Conflicting) as by_name:
            await images.remove("app")
        assert str(by_name.value) == (
            'conflict: unable to remove repository reference "app" (must force) - '
            f"container {'c' * 12} is using its referenced image {short}"
        )
        with pytest.raises(Conflicting, match="image is being used by stopped container"):
            await images.remove(short)
        users.containers[made.id] = [("c" * 64, True)]
        with pytest.raises(Conflicting, match="cannot be forced"):
            await images.remove(short, force=True)
        # by name and forced, a running container's image only loses its name
        assert await images.remove("app", force=True) == ["Untagged: app:latest"]
        assert list(images.resolve(made.id).names) == []

    run(work())


def test_an_id_with_several_names_must_be_forced(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        images = store(tmp_path)
        made = await image(images, "app", LAYER)
        await images.tag("app", "copy")
        with pytest.raises(Conflicting, match="referenced in multiple repositories"):
            await images.remove(made.id)
        lines = await images.remove(made.id, force=True)
        assert lines == ["Untagged: app:latest", "Untagged: copy:latest", f"Deleted: {made.id}"]

    run(work())


def test_changed_bytes_on_the_disk_are_found(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        made = await image(store(tmp_path), "app", LAYER)
        path = tmp_path / "images" / "blobs" / "sha256" / made.id.removeprefix("sha256:")
        path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))
        with pytest.raises(BlobError, match="have changed"):
            store(tmp_path).resolve("app")

    run(work())


def test_a_damaged_image_hides_no_other_and_can_be_removed(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        bad = await image(store(tmp_path), "bad", LAYER, author="x")
        good = await image(store(tmp_path), "good", LAYER)
        (tmp_path / "images" / "blobs" / "sha256" / bad.digest.removeprefix("sha256:")).unlink()
        images = store(tmp_path)
        assert [i.id for i in images.list()] == [good.id]
        assert images.resolve(good.id[7:20]).id == good.id
        with pytest.raises(BlobError, match="not in this store"):
            images.resolve("bad")
        assert await images.remove("bad") == ["Untagged: bad:latest"]
        with pytest.raises(NoSuchImage):
            images.resolve("bad")
        await images.remove("good")
        assert blobs_of(tmp_path) == set()

    run(work())


def test_a_damaged_index_is_one_sentence(tmp_path: Path, run: Run) -> None:
    run(image(store(tmp_path), "app", LAYER))
    (tmp_path / "images" / "index.json").write_bytes(b"{}")
    with pytest.raises(EngineError, match="index"):
        store(tmp_path)


def test_half_written_blobs_vanish(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    with pytest.raises(RuntimeError), blobs.writer() as writer:
        writer.write(b"half")
        raise RuntimeError
    with blobs.writer() as writer:
        writer.write(b"never committed")
    with pytest.raises(BlobError, match="have the digest"), blobs.writer() as writer:
        writer.write(b"other bytes")
        writer.commit("sha256:" + "0" * 64)
    assert os.listdir(tmp_path / "ingest") == os.listdir(tmp_path / "blobs" / "sha256") == []
    (tmp_path / "ingest" / "left by a crash").write_bytes(b"")
    Blobs(str(tmp_path)).sweep()
    assert os.listdir(tmp_path / "ingest") == []


def test_digests_cannot_lead_elsewhere(tmp_path: Path) -> None:
    from groundplane.oci.image import ImageDocumentError

    with pytest.raises(ImageDocumentError):
        Blobs(str(tmp_path)).path("sha256:../../../etc/passwd")
