"""skopeo and GNU tar as judges of our store: it is an OCI image layout, and its layers are tars."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.images import store

from groundplane.engine.images.from_host.build import make_image
from groundplane.engine.images.from_host.contract import FromHost
from groundplane.engine.snapshots.overlay import Overlay

pytestmark = [
    pytest.mark.needs("root", "overlay"),
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="the program skopeo is not installed"),
]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def out(*words: str) -> bytes:
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_skopeo_reads_and_copies_our_store(state_root: Path, run: Run) -> None:
    images = store(state_root)
    made = run(make_image(images, str(state_root / "cache"), FromHost("tools", ("/bin/ls",), env={"A": "1"}))).image
    ours = f"oci:{state_root}/images:docker.io/library/tools:latest"
    inspected = json.loads(out("skopeo", "inspect", ours))
    assert inspected["Digest"] == made.digest and "A=1" in inspected["Env"]
    out(
        "skopeo", "copy", "--insecure-policy", "--dest-oci-accept-uncompressed-layers", ours, f"oci:{state_root}/copy:x"
    )
    index = json.loads((state_root / "copy/index.json").read_text())
    assert index["manifests"][0]["digest"] == made.digest


def test_tar_unpacks_our_layers_to_the_same_tree(state_root: Path, run: Run) -> None:
    images = store(state_root)
    made = run(make_image(images, str(state_root / "cache"), FromHost("tools", ("/bin/sh", "/bin/ls")))).image
    snapshots = Overlay(str(state_root / "snapshots"), images)
    run(snapshots.unpack_image(made.id))
    snapshots.close()
    (layer,) = images.layers(made.id)
    theirs = state_root / "theirs"
    theirs.mkdir(mode=0o755)
    out("tar", "--numeric-owner", "-xpf", layer.blob_path, "-C", str(theirs))
    ours = state_root / "snapshots/layers" / layer.diff_id.removeprefix("sha256:") / "fs"
    form = ["-printf", "%P %y %m %U %G %s %Ts %l\\n"]

    def listing(root: Path) -> list[bytes]:
        found = out("find", str(root), "-mindepth", "1", *form)
        return sorted(
            b" ".join(w for i, w in enumerate(line.split(b" ")) if i != 5 or b" f " in line)
            for line in found.splitlines()
        )

    assert listing(ours) == listing(theirs)
    out("diff", "-r", "--no-dereference", str(ours), str(theirs))
