"""Images from files of this host: they run, they are reproducible, and hostile wishes leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.images import image, store

from groundplane.engine.contract import EngineError, ImageInfo
from groundplane.engine.images.from_host.build import Made, make_image
from groundplane.engine.images.from_host.contract import Add, FromHost, FromHostError
from groundplane.engine.images.store import ImageStore
from groundplane.engine.snapshots.overlay import Overlay

pytestmark = pytest.mark.needs("root", "overlay")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
# The interpreter that runs this test (an environment's, as a rule), and the distribution's own.
PYTHONS = [path for path in (sys.executable, "/usr/bin/python3") if os.path.exists(path)]
MODULES = "import ssl, sqlite3, json, ctypes, lzma, bz2, asyncio, zoneinfo, uuid, encodings.idna, hashlib"


class Host:
    """A store and snapshots below one root, a directory for sources, and a chroot to run what came out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "files"
        self.files.mkdir()
        self.images: ImageStore = store(root)
        self.snapshots = Overlay(str(root / "snapshots"), self.images)

    async def make(self, *programs: str, **wish: Any) -> Made:
        wish.setdefault("forbidden", (str(self.root / "images"), str(self.root / "snapshots")))
        return await make_image(self.images, str(self.root / "images/cache"), FromHost("test", programs, **wish))

    async def run(self, image: ImageInfo, *command: str, user: int = 0) -> str:
        await self.snapshots.prepare("c", image.id)
        root = self.snapshots.mount("c")
        env = dict(item.partition("=")[::2] for item in image.config["config"]["Env"])

        def enter() -> None:
            os.chroot(root)
            os.chdir("/")
            if user:
                os.setgid(user)
                os.setuid(user)

        try:
            # In a thread would be no better: the test has nothing else to do.
            done = subprocess.run(command, env=env, preexec_fn=enter, capture_output=True, text=True, check=False)  # noqa: ASYNC221
        finally:
            await self.snapshots.remove("c")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def untouched(self) -> bool:
        """No blob, no name, nothing half-written."""
        images = self.root / "images"
        return os.listdir(images / "blobs/sha256") == os.listdir(images / "ingest") == self.images.list() == []


@pytest.fixture
def host(state_root: Path) -> Iterator[Host]:
    made = Host(state_root)
    yield made
    made.snapshots.close()


def member(host: Host, image: ImageInfo, layer: int, path: str) -> os.stat_result | None:
    from groundplane.oci.image_config import chain_id

    chain = chain_id(image.config["rootfs"]["diff_ids"][: layer + 1]).removeprefix("sha256:")
    try:
        return os.lstat(host.root / "snapshots/layers" / chain / "fs" / path.lstrip("/"))
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("python", PYTHONS)
def test_python_runs_with_its_standard_library(host: Host, run: Run, python: str) -> None:
    async def work() -> None:
        made = await host.make(python)
        assert made.warnings == ()
        out = await host.run(
            made.image, python, "-c", f"{MODULES}\nprint(ssl.create_default_context().cert_store_stats())"
        )
        assert "x509" in out
        name = os.path.basename(python)
        # found by PATH, and by any user: an interpreter below a private /root must be reachable
        assert await host.run(made.image, name, "-c", "import os; print(os.getuid())", user=1234) == "1234\n"

    run(work())


def test_programs_scripts_and_their_interpreters(host: Host, run: Run) -> None:
    script = host.files / "hello"
    script.write_text("#!/usr/bin/env -S sh -e\necho hello from $0\n")
    script.chmod(0o755)
    plain = host.files / "plain"
    plain.write_text("#!/bin/sh\nls /\n")
    plain.chmod(0o755)

    async def work() -> None:
        made = await host.make(str(script), str(plain), "/bin/ls")
        assert await host.run(made.image, str(script)) == f"hello from {script}\n"
        listed = await host.run(made.image, str(plain))
        assert {"bin", "etc", "proc", "tmp", "usr"} <= set(listed.split())
        assert made.image.config["config"]["Cmd"] == [str(script)]
        path = dict(item.partition("=")[::2] for item in made.image.config["config"]["Env"])["PATH"]
        assert path.startswith(f"{host.files}:")

    run(work())


def compile_answer(files: Path, *link: str) -> str:
    """A program that needs `lib/libanswer.so` and prints what it says."""
    if shutil.which("cc") is None:
        pytest.skip("the program cc is not installed")
    (files / "x.c").write_text("int answer(void) { return 42; }")
    (files / "main.c").write_text('#include <stdio.h>\nint answer(void);int main(void){printf("%d\\n",answer());}')
    os.mkdir(files / "lib")
    for words in (["-shared", "-fPIC", "-o", "lib/libanswer.so", "x.c"], ["main.c", "-Llib", "-lanswer", *link]):
        subprocess.run(["cc", "-o", "program", *words], cwd=files, check=True)
    return str(files / "program")


def test_a_library_by_run_path(host: Host, run: Run) -> None:
    program = compile_answer(host.files, f"-Wl,--enable-new-dtags,-rpath,{host.files}/lib")

    async def work() -> None:
        made = await host.make(program)
        assert await host.run(made.image, program) == "42\n"
        (host.files / "lib/libanswer.so").unlink()
        with pytest.raises(FromHostError, match=r"libanswer\.so, which is not on this host"):
            await host.make(program)
        added = await host.make("/bin/ls", adds=(Add(program, "/program"),))
        assert added.warnings == (f"{program}: it needs the shared library libanswer.so, which is not on this host",)

    run(work())


def test_a_library_that_only_the_linkers_cache_knows(host: Host, run: Run) -> None:
    """It lies where the linker does not look by itself, so the image gets a cache of its own."""
    from groundplane.engine.images.from_host.layers import LayerCache, make_layer
    from groundplane.engine.images.from_host.libraries import Libraries, read_cache
    from groundplane.engine.images.from_host.programs import Programs
    from groundplane.engine.images.from_host.tree import Tree

    program = compile_answer(host.files)
    tree = Tree()
    cache = {**read_cache(), "libanswer.so": [str(host.files / "lib/libanswer.so")]}
    programs = Programs(tree, Libraries(cache), "/bin")
    programs.add(program)
    programs.finish()
    layer = make_layer(tree, host.images.blobs, LayerCache(str(host.root / "cache")), None)
    data = host.images.blobs.read(layer.digest, limit=1 << 30)

    async def work() -> None:
        made = await image(host.images, "made", data, config={"Env": ["PATH=/bin"]})
        assert await host.run(made, program) == "42\n"

    run(work())


def test_equal_files_give_the_equal_image(host: Host, run: Run) -> None:
    app = host.files / "app"
    app.mkdir()
    (app / "one.py").write_text("1")
    (app / "link").symlink_to("one.py")

    async def work() -> None:
        first = await host.make("/bin/ls", adds=(Add(str(app), "/srv"),))
        again = await host.make("/bin/ls", adds=(Add(str(app), "/srv"),))
        assert again.image.id == first.image.id
        other = Host(_directory(host.root, "other"))
        assert (await other.make("/bin/ls", adds=(Add(str(app), "/srv"),))).image.digest == first.image.digest
        (app / "one.py").write_text("2")
        changed = await host.make("/bin/ls", adds=(Add(str(app), "/srv"),))
        layers = [image.config["rootfs"]["diff_ids"] for image in (first.image, changed.image)]
        assert layers[0][0] == layers[1][0] and layers[0][1] != layers[1][1]

    run(work())


def _directory(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def test_no_time_is_after_the_epoch(host: Host, run: Run) -> None:
    (host.files / "f").write_text("x")

    async def work() -> None:
        made = await host.make("/bin/ls", adds=(Add(str(host.files / "f"), "/f"),), source_date_epoch=1000)
        assert made.image.created_at == 1000 * 10**9
        await host.snapshots.unpack_image(made.image.id)
        found = member(host, made.image, 1, "f")
        assert found is not None and found.st_mtime == 1000

    run(work())


def test_added_files_land_where_docker_would_put_them(host: Host, run: Run) -> None:
    tree = host.files / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "deep").write_text("deep")
    (tree / "top").write_text("top")
    file = host.files / "file"
    file.write_text("file")
    file.chmod(0o640)
    adds = (
        Add(str(tree), "/app"),
        Add(str(file), "/app/renamed"),
        Add(str(file), "/into/"),
        Add(str(file), "/tmp"),
        Add(str(tree), "/lib/tree"),  # through a merged-/usr link
        Add(str(tree), "/"),
    )

    async def work() -> None:
        made = await host.make("/bin/ls", "/bin/cat", adds=adds)
        read = ["/app/sub/deep", "/app/top", "/app/renamed", "/into/file", "/tmp/file", "/lib/tree/top", "/top"]
        assert await host.run(made.image, "/bin/cat", *read) == "deeptopfilefilefiletoptop"
        await host.snapshots.unpack_image(made.image.id)
        renamed, tmp = member(host, made.image, 1, "app/renamed"), member(host, made.image, 1, "tmp")
        assert renamed is not None and (stat.S_IMODE(renamed.st_mode), renamed.st_uid) == (0o640, 0)
        assert tmp is not None and stat.S_IMODE(tmp.st_mode) == 0o1777

    run(work())


def test_what_the_image_says_of_itself(host: Host, run: Run) -> None:
    async def work() -> None:
        made = await host.make(
            "/bin/ls",
            env={"A": "1"},
            entrypoint=("/bin/ls",),
            working_dir="/work/dir",
            user="1000:1000",
            labels={"k": "v"},
            exposed_ports=("8080", "53/udp"),
        )
        settings = dict(made.image.config["config"])
        assert settings.pop("Env")[-1] == "A=1"
        assert settings == {
            "User": "1000:1000",
            "Entrypoint": ["/bin/ls"],
            "WorkingDir": "/work/dir",
            "Labels": {"k": "v"},
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        }
        assert await host.run(made.image, "/bin/ls", "/work") == "dir\n"
        json.dumps(made.image.config)

    run(work())


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


HOSTILE: list[tuple[str, Callable[[Path], tuple[str, str]], str]] = [
    ("relative", lambda d: ("files", "/x"), "must be an absolute path"),
    ("destination climbs", lambda d: (str(d), "/srv/../../etc"), r"leads out of the image with `\.\.`"),
    ("destination relative", lambda d: (str(d), "srv"), "the destination must be an absolute path"),
    ("missing", lambda d: (str(d / "missing"), "/x"), "there is no such file"),
    ("dangling", lambda d: ((d / "l").symlink_to("nowhere"), (str(d / "l"), "/x"))[1], "there is no such file"),
    ("proc", lambda d: ("/proc", "/x"), "a file system of the kernel"),
    ("proc file", lambda d: ("/proc/self/environ", "/x"), "a file system of the kernel"),
    (
        "proc by link",
        lambda d: ((d / "p").symlink_to("/proc/1"), (str(d / "p"), "/x"))[1],
        "a file system of the kernel",
    ),
    ("sys", lambda d: ("/sys/kernel", "/x"), "a file system of the kernel"),
    ("device", lambda d: ("/dev/null", "/x"), "a file system of the kernel"),
    ("node", lambda d: (os.mknod(d / "n", stat.S_IFCHR, 0x103), (str(d), "/x"))[1], "a character device"),
    ("socket", lambda d: (_socket(d / "s"), (str(d), "/x"))[1], "a socket"),
    ("pipe", lambda d: (os.mkfifo(d / "f"), (str(d / "f"), "/x"))[1], "a named pipe"),
    ("own state", lambda d: (str(d.parent), "/x"), "Groundplane's own state"),
    ("zero byte", lambda d: (str(d), "/x\0y"), "a zero byte"),
    ("over a program", lambda d: (str(d), "/bin/ls"), "is a file in the image"),
    ("below a program", lambda d: (str(d), "/bin/ls/x"), "is not a directory in the image"),
]


@pytest.mark.parametrize(("source", "words"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_sources_leave_nothing(
    host: Host, run: Run, source: Callable[[Path], tuple[str, str]], words: str
) -> None:
    async def work() -> None:
        add = Add(*source(host.files))
        with pytest.raises(FromHostError, match=words):
            await host.make("/bin/ls", adds=(add,))
        assert host.untouched()

    run(work())


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"programs": ()}, "no program is named"),
        ({"programs": ("ls",)}, "must be an absolute path"),
        ({"programs": ("/nowhere/ls",)}, "there is no such file"),
        ({"programs": ("/etc",)}, "it is a directory"),
        ({"programs": ("/etc/passwd",)}, "it is not executable"),
        ({"programs": ("/proc/self/exe",)}, "a file system of the kernel"),
        ({"working_dir": "x"}, "must be an absolute path"),
        ({"env": {"A=B": "c"}}, "NAME=value"),
        ({"exposed_ports": ("99999",)}, "--expose 99999"),
        ({"exposed_ports": ("http",)}, "--expose http"),
    ],
)
def test_wrong_wishes_leave_nothing(host: Host, run: Run, wish: dict[str, Any], words: str) -> None:
    async def work() -> None:
        programs = wish.get("programs", ("/bin/ls",))
        rest = {name: value for name, value in wish.items() if name != "programs"}
        with pytest.raises(FromHostError, match=words):
            await host.make(*programs, **rest)
        assert host.untouched()

    run(work())


def test_bad_programs(host: Host, run: Run) -> None:
    """Texts without #!, interpreters that are missing or in a circle, an ELF header with nothing behind it."""
    cases = {
        "text": (b"echo hi\n", "neither an ELF program nor a script"),
        "empty": (b"", "neither an ELF program nor a script"),
        "lost": (b"#!/nowhere/sh\n", "there is no such file"),
        "bare": (b"#!sh\n", "not an absolute path"),
        "circle": (f"#!{host.files}/circle\n".encode(), "interpreters of interpreters"),
        "elf": (b"\x7fELF\2\1\1" + b"\xff" * 80, "ELF header"),
    }

    async def work() -> None:
        for name, (data, words) in cases.items():
            (host.files / name).write_bytes(data)
            (host.files / name).chmod(0o755)
            with pytest.raises(FromHostError, match=words):
                await host.make(str(host.files / name))
        for name in ("", "A", "a@sha256:" + "0" * 64):
            with pytest.raises(FromHostError, match="--name"):
                await make_image(host.images, str(host.root / "cache"), FromHost(name, ("/bin/ls",)))
        assert host.untouched()

    run(work())


def test_a_file_that_changes_meanwhile_is_noticed(host: Host, run: Run) -> None:
    """The plan is made from `stat`; what is read must be the same file still."""
    from groundplane.engine.images.from_host.layers import LayerCache, make_layer
    from groundplane.engine.images.from_host.tree import Tree

    path = host.files / "f"
    path.write_text("first")
    tree = Tree()
    tree.add_host(str(path))
    for change in (lambda: path.write_text("longer than first"), path.unlink, lambda: os.mkfifo(path)):
        change()
        with pytest.raises(FromHostError, match="while the image was made"):
            make_layer(tree, host.images.blobs, LayerCache(str(host.root / "cache")), None)
    assert host.untouched()


def test_a_full_disk_is_one_sentence(host: Host, run: Run) -> None:
    """Making and unpacking end with the kernel's reason, nothing half-made is left, and it works once there is room."""
    big = host.files / "big"
    big.write_bytes(os.urandom(3 << 20))
    small = host.root / "small"
    small.mkdir()

    async def work() -> None:
        images = store(small)
        snapshots = Overlay(str(small / "snapshots"), images)
        wish = FromHost("test", ("/bin/ls",), (Add(str(big), "/big"),))
        with pytest.raises(EngineError, match="No space left on device"):
            await make_image(images, str(small / "cache"), wish)
        assert os.listdir(small / "images/ingest") == [] and images.list() == []
        subprocess.run(["mount", "-o", "remount,size=12m", str(small)], check=True)  # noqa: ASYNC221
        made = await make_image(images, str(small / "cache"), wish)
        with pytest.raises(EngineError, match="No space left on device"):
            await snapshots.unpack_image(made.image.id)
        assert os.listdir(small / "snapshots/trash") == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)  # noqa: ASYNC221
        await snapshots.unpack_image(made.image.id)
        snapshots.close()

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(small)], check=True)
    try:
        run(work())
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
