"""One bundle, three runtimes: documents of runc, crun, podman, dockerd and ours behave the same under each of them.

podman's and dockerd's documents are taken from a live container and freed of what binds them to that one container:
their own root, network namespace, control group, and the hooks that call the daemon back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.foreign.docker_daemon import busybox_tree, docker_daemon, write_runtime
from tests.foreign.podman_host import podman_host

from groundplane.kernel.cgroups import registry

pytestmark = pytest.mark.needs(
    "root", "cgroups", "net", "overlay", "runc", "crun", "podman", "dockerd", "docker-cli", "busybox"
)
RUNTIMES = ("runc", "crun", "ground-runtime")
MAKERS = (*RUNTIMES, "podman", "dockerd")
# Who it is, what it may do, what it sees; and a code of its own.
SCRIPT = """
id; pwd; hostname; umask; echo $PATH $HOME
while read key value; do
  case $key in Uid:*|Gid:*|Groups:*|Cap*|NoNewPrivs:*|Seccomp:*) echo $key $value;; esac
done </proc/self/status
ls -l /dev | while read mode links user group rest; do
  case $rest in *kcore) ;; *) echo $mode $user $group ${rest%% *};; esac  # /dev/core is runc's and ours, not crun's
done
for path in /proc/kcore /proc/sys /sys /dev/shm /etc; do touch $path/x 2>/dev/null && echo $path is writable; done
ls /proc/1/ns; ls -A /proc/acpi /sys/firmware 2>/dev/null
exit 7
"""


def document_of(maker: str, directory: Path) -> dict[str, Any]:
    """A config.json as that program makes it."""
    if maker in RUNTIMES:
        program = str(directory / maker) if maker == "ground-runtime" else maker
        place = Path(tempfile.mkdtemp(dir=directory))
        subprocess.run([program, "spec"], cwd=place, check=True)
        return read(place / "config.json")
    if maker == "podman":
        with podman_host() as podman:
            podman.run("--detach", "--name", "c", "--memory", "64m", "--hostname", "box", "box", "sleep", "100")
            made = podman("inspect", "--format", "{{.OCIConfigPath}}", "c").strip()
            return freed(read(Path(made)), directory / maker)
    with docker_daemon() as docker:
        id = docker("run", "-d", "--net", "none", "--memory", "64m", "--hostname", "box", "box", "sleep", "100").strip()
        bundles = docker.directory / "containerd-state/io.containerd.runtime.v2.task/moby"
        return freed(read(bundles / id / "config.json"), directory / maker)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def freed(document: dict[str, Any], copies: Path) -> dict[str, Any]:
    """The document without its container: files that it binds are copied, what is the engine's own is taken out."""
    copies.mkdir()
    document.pop("hooks", None)
    for number, mount in enumerate(document["mounts"]):
        source = Path(mount.get("source", ""))
        if source.is_absolute() and source.is_file() and {"bind", "rbind"} & set(mount.get("options", ())):
            mount["source"] = str(shutil.copy(source, copies / str(number)))
        elif source.is_absolute() and source.is_dir() and mount["destination"] == "/dev/shm":
            mount.update(type="tmpfs", source="shm", options=["nosuid", "noexec", "nodev", "mode=1777", "size=64000k"])
    document["mounts"] = [m for m in document["mounts"] if not m["destination"].startswith("/run/")]
    document["linux"]["namespaces"] = [
        {"type": one["type"]} for one in document["linux"]["namespaces"] if one["type"] != "user"
    ]
    return document


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    directory.chmod(0o755)
    write_runtime(directory / "ground-runtime")
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module", params=MAKERS)
def document(request: pytest.FixtureRequest, directory: Path) -> dict[str, Any]:
    document = document_of(request.param, directory)
    busybox_tree(directory / f"root-of-{request.param}")
    document["root"] = {"path": str(directory / f"root-of-{request.param}"), "readonly": True}
    document["process"].update(terminal=False, args=["sh", "-c", SCRIPT])
    return document


def outcome(runtime: str, document: dict[str, Any], directory: Path) -> tuple[int, str]:
    """The exit code and what the container wrote, by a run from beginning to end; nothing may be left of it."""
    group = f"ground-test-{os.getpid()}/bundle"
    document["linux"]["cgroupsPath"] = f"/{group}"
    bundle = Path(tempfile.mkdtemp(dir=directory))
    (bundle / "config.json").write_text(json.dumps(document))
    program = str(directory / runtime) if runtime == "ground-runtime" else runtime
    command = [program, "--root", str(bundle / "state"), "run", "--bundle", str(bundle), "c"]
    groups = registry.detect()
    if runtime == "crun":  # 1.8 knows no specification after 1.0, and refuses hosts with both versions of cgroups
        (bundle / "config.json").write_text(json.dumps({**document, "ociVersion": "1.0.2"}))
        if groups.layout == "hybrid":
            command = ["unshare", "--mount", "sh", "-ec", 'umount /sys/fs/cgroup/unified; exec "$@"', "sh", *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    left = groups.exists(group)
    groups.remove(group)
    groups.remove(group.partition("/")[0])
    assert not left, f"{runtime} left its cgroup"
    assert "level=error" not in done.stderr and done.returncode == 7, done  # warnings differ: runc 1.1 has none
    return done.returncode, done.stdout


def test_each_runtime_makes_the_same_of_it(document: dict[str, Any], directory: Path) -> None:
    expected = outcome("runc", document, directory)
    for runtime in RUNTIMES[1:]:
        assert outcome(runtime, document, directory) == expected, runtime
