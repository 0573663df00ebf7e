"""Snapshots over the real overlay file system: life, restart, recovery, many layers, compressed and wrong layers."""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.images import directory, image, member, store, tar
from tests.real import leaks

from groundplane.engine.contract import NoSuchImage
from groundplane.engine.images.store import ImageStore
from groundplane.engine.snapshots.contract import Layer, SnapshotError
from groundplane.engine.snapshots.overlay import Overlay
from groundplane.engine.snapshots.streams import open_layer
from groundplane.kernel.calls.mount import MNT_DETACH, mount, umount2
from groundplane.oci.image import LAYER_TAR

pytestmark = pytest.mark.needs("root", "overlay")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
BASE = tar(directory("./", 0o755), directory("d"), member("d/x", b"x"), member("keep", b"keep"))
TOP = tar(member("d/.wh.x"), member("new", b"new"))


@asynccontextmanager
async def place(root: Path) -> AsyncIterator[tuple[ImageStore, Overlay]]:
    images = store(root)
    snapshots = Overlay(str(root / "snapshots"), images)
    try:
        yield images, snapshots
        assert leaks.mounts([root]) == []
    finally:
        await snapshots.sweep([])
        snapshots.close()


def test_life_of_a_snapshot(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE, TOP)
            snapshot = await snapshots.prepare("one", made.id)
            root = Path(snapshots.mount("one"))
            assert root == Path(snapshot.root)
            assert sorted(os.listdir(root)) == ["d", "keep", "new"] and os.listdir(root / "d") == []
            (root / "keep").write_bytes(b"changed")
            (root / "d").rmdir()
            assert snapshots.mount("one") == str(root)  # again: the same mount
            snapshots.unmount("one")
            snapshots.unmount("one")
            assert os.listdir(root) == []
            assert (await snapshots.prepare("one", made.id)) == snapshot  # keeps what was written
            snapshots.mount("one")
            assert (root / "keep").read_bytes() == b"changed" and not (root / "d").exists()
            assert await snapshots.size("one") >= len(b"changed")
            await snapshots.remove("one")
            await snapshots.remove("one")
            with pytest.raises(SnapshotError):
                snapshots.get("one")

    run(work())


def test_containers_do_not_see_each_other(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE)
            for id in ("one", "two"):
                await snapshots.prepare(id, made.id)
                Path(snapshots.mount(id), "mine").write_text(id)
            assert Path(snapshots.mount("one"), "mine").read_text() == "one"
            assert not (state_root / "snapshots/layers" / _layer(state_root) / "fs/mine").exists()
            for id in ("one", "two"):
                await snapshots.remove(id)

    run(work())


def _layer(root: Path) -> str:
    return next(name for name in os.listdir(root / "snapshots/layers") if name != "empty")


def test_restart_finds_mounts_and_sweeps_the_rest(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE)
            for id in ("kept", "lost"):
                await snapshots.prepare(id, made.id)
                snapshots.mount(id)
            (state_root / "snapshots/trash/half").mkdir()
            again = Overlay(str(state_root / "snapshots"), images)
            assert await again.sweep(["kept"]) == ["lost"]
            assert [Path(m).parent.name for m in leaks.mounts([state_root])] == ["kept"]
            assert os.listdir(state_root / "snapshots/trash") == []
            assert Path(again.mount("kept"), "keep").read_bytes() == b"keep"
            await again.remove("kept")

    run(work())


def test_after_a_power_cut_unsynced_layers_are_unpacked_again(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE, TOP)
            await snapshots.prepare("one", made.id)
            snapshots.close()  # its marks would come in between
            for name in os.listdir(state_root / "snapshots/layers"):
                layer = state_root / "snapshots/layers" / name
                if name != "empty":
                    _another_boot(layer)
                    for file in layer.glob("fs/keep"):
                        file.write_bytes(b"")  # what the disk did not get in time
            again = Overlay(str(state_root / "snapshots"), images)
            await again.sweep(["one"])
            assert Path(again.mount("one"), "keep").read_bytes() == b"keep"
            await again.remove("one")
            again.close()

    run(work())


def _another_boot(layer: Path) -> None:
    for name in ("boot", "synced"):
        (layer / name).unlink(missing_ok=True)
    (layer / "boot").symlink_to("00000000-0000-0000-0000-000000000000")


def test_layers_go_with_the_last_that_needs_them(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE, TOP)
            await snapshots.prepare("one", made.id)
            await snapshots.prune([])
            assert len(os.listdir(state_root / "snapshots/layers")) == 3  # both, and the empty one
            await snapshots.remove("one")
            await snapshots.prune(made.config["rootfs"]["diff_ids"][:1])
            assert len(os.listdir(state_root / "snapshots/layers")) == 2
            await snapshots.prune([])
            assert os.listdir(state_root / "snapshots/layers") == ["empty"]

    run(work())


def test_layers_of_a_container_that_is_made_meanwhile_stay(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE, TOP)
            await snapshots.unpack_image(made.id)
            async with snapshots._unpacking:
                prune = asyncio.ensure_future(snapshots.prune([]))
                await asyncio.sleep(0)  # it waits for the lock
                await snapshots.prepare("c1", made.id)
            await prune
            assert os.path.isdir(snapshots.mount("c1"))
            assert await snapshots.sweep([]) == ["c1"]

    run(work())


def test_what_cannot_be_deleted_stops_nobody(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE, TOP)
            inside = Path((await snapshots.prepare("c1", made.id)).upper) / "a/b"
            inside.mkdir(parents=True)
            mount("stuck", str(inside), "tmpfs", 0, "")  # to the deleting, the same as a file that is immutable
            try:
                await snapshots.remove("c1")
                with pytest.raises(SnapshotError):
                    snapshots.get("c1")
                await snapshots.sweep([])
                stuck = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
                moved = [path for path in stuck if path.startswith(str(state_root))]
            finally:
                for path in moved or [str(inside)]:
                    umount2(path, MNT_DETACH)
            await snapshots.sweep([])
            assert os.listdir(state_root / "snapshots/trash") == []

    run(work())


@pytest.mark.parametrize("count", [0, 1, 120])
def test_any_number_of_layers(state_root: Path, run: Run, count: int) -> None:
    """120 do not fit into mount(2)'s page by name."""

    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            layers = [tar(member(f"f{i}", b"x")) for i in range(count)]
            made = await image(images, "app", *layers)
            await snapshots.prepare("one", made.id)
            assert len(os.listdir(snapshots.mount("one"))) == count
            await snapshots.remove("one")

    run(work())


def test_the_roots_mode_is_the_images(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", tar(directory("./", 0o711, uid=5)))
            await snapshots.prepare("one", made.id)
            found = os.stat(snapshots.mount("one"))
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o711, 5)
            await snapshots.remove("one")

    run(work())


def test_nothing_is_left_of_a_layer_that_is_wrong(state_root: Path, run: Run) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            for name, layer in (("not-a-tar", b"x" * 2000), ("hostile", tar(member("../x", b"")))):
                made = await image(images, name, layer)
                with pytest.raises(SnapshotError, match="layer sha256"):
                    await snapshots.prepare("one", made.id)
            with pytest.raises(NoSuchImage):
                await snapshots.prepare("one", "sha256:" + "0" * 64)
            assert os.listdir(state_root / "snapshots/layers") == ["empty"]
            assert os.listdir(state_root / "snapshots/containers") == os.listdir(state_root / "snapshots/trash") == []

    run(work())


@pytest.mark.parametrize("id", ["", "../x", "a/b", ".hidden"])
def test_ids_cannot_lead_elsewhere(state_root: Path, run: Run, id: str) -> None:
    async def work() -> None:
        async with place(state_root) as (images, snapshots):
            made = await image(images, "app", BASE)
            with pytest.raises(SnapshotError):
                await snapshots.prepare(id, made.id)

    run(work())


def _zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return bytes(zstd.compress(data))


def _layer_file(root: Path, data: bytes, media_type: str) -> Layer:
    (root / "blob").write_bytes(data)
    return Layer("sha256:" + "0" * 64, str(root / "blob"), media_type)


def test_compressed_layers(tmp_path: Path) -> None:
    for media_type, data in (
        (LAYER_TAR, BASE),
        (f"{LAYER_TAR}+gzip", gzip.compress(BASE[:1000]) + gzip.compress(BASE[1000:])),
        (f"{LAYER_TAR}+zstd", _zstd(BASE)),
    ):
        with open_layer(_layer_file(tmp_path, data, media_type)) as stream:
            assert b"".join(iter(lambda: stream.read(700), b"")) == BASE


def test_damaged_compression_is_one_error(tmp_path: Path) -> None:
    good = gzip.compress(BASE)
    for data, kind in ((good[:-20], "gzip"), (b"x" * 50, "gzip"), (good, "zstd"), (good[:40] + b"\xff" * 40, "gzip")):
        with (
            pytest.raises(SnapshotError, match="damaged"),
            open_layer(_layer_file(tmp_path, data, f"{LAYER_TAR}+{kind}")) as stream,
        ):
            stream.finish()
    with pytest.raises(SnapshotError, match="not offered"), open_layer(_layer_file(tmp_path, b"", "text/plain")):
        pass
