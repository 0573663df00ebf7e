"""The real docker command line as a judge of our API: the verbs that are offered, and sentences for the rest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.real.ground_rig import Ground, ground

pytestmark = pytest.mark.needs("root", "overlay", "cgroups", "docker-cli")
Docker = Callable[..., subprocess.CompletedProcess[str]]
JSON = "{{json .}}"  # what later versions call json
TICK = "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.05; done"


@pytest.fixture(scope="module")
def instance() -> Iterator[Ground]:
    with ground() as made:
        made.ok("image", "from-host", "--name", "tools", "-l", "made=here", "sh", "cat", "sleep", "ls", "true")
        yield made


@pytest.fixture
def docker(instance: Ground) -> Iterator[Docker]:
    def call(*words: str, input: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *words],
            env=instance.environ,
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    yield call
    if names := call("ps", "-aq").stdout.split():
        call("rm", "-f", *names)


def not_executable(docker: Docker) -> int:
    """The exit code for a directory as program, made by the client of our sentence: 23.0 was the first to know it."""
    major = docker("version", "--format", "{{.Client.Version}}").stdout.partition(".")[0]
    return 126 if int(major) >= 23 else 125


def test_version_and_info(docker: Docker) -> None:
    server = json.loads(docker("version", "--format", JSON).stdout)["Server"]
    assert (server["ApiVersion"], server["Os"]) == ("1.47", "linux")
    info = json.loads(docker("info", "--format", JSON).stdout)
    assert info["DefaultRuntime"] == "ground-runtime" and not info.get("ServerErrors")
    assert docker("network", "ls", "--format", "{{.Name}}").stdout == "host\nnone\n"
    assert docker("volume", "ls", "-q").stdout == ""


def test_run(docker: Docker) -> None:
    done = docker("run", "--rm", "tools", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert docker("run", "--rm", "-i", "tools", "cat", input="in\n" * 5000).stdout == "in\n" * 5000
    assert (
        docker("run", "--rm", "-t", "tools", "sh", "-c", "test -t 1 && echo yes").stdout == "yes\n"
    )  # text mode turns \r\n into that
    assert docker("run", "--rm", "-e", "A=b", "-w", "/tmp", "tools", "sh", "-c", "echo $A $PWD").stdout == "b /tmp\n"
    assert docker("ps", "-aq").stdout == ""


def test_exit_codes_and_sentences(docker: Docker) -> None:
    assert "executable file not found" in docker("run", "--rm", "tools", "nosuch", code=127).stderr
    assert "is a directory" in docker("run", "--rm", "tools", "/etc", code=not_executable(docker)).stderr
    for words, sentence in (
        (["run", "nosuch"], "registries are not offered yet"),
        (["run", "-p", "80:80", "tools"], "published ports are not offered yet"),
        (["run", "--network", "bridge", "tools"], "bridge networks are not offered yet"),
        (["run", "--health-cmd", "x", "tools"], "health checks are not offered yet"),
    ):
        assert sentence in docker(*words, code=125).stderr
    for words, sentence in (
        (["pull", "nginx"], "registries are not offered yet"),
        (["network", "create", "n"], "user-defined networks are not offered yet"),
        (["volume", "create", "v"], "named volumes are not offered yet"),
        (["swarm", "init"], "swarm is not offered"),
        (["inspect", "nosuch"], "No such object: nosuch"),
        (["rm", "nosuch"], "No such container: nosuch"),
        (["rmi", "nosuch"], "No such image: nosuch"),  # our sentence goes on with the tag, 20.10 says its own
    ):
        assert sentence in docker(*words, code=1).stderr


def test_life(docker: Docker) -> None:
    id = docker("run", "-d", "--name", "web", "-l", "a=b", "tools", "sh", "-c", TICK).stdout.strip()
    row = json.loads(docker("ps", "--no-trunc", "--format", JSON, "--filter", "label=a=b").stdout)
    assert (row["ID"], row["Names"], row["Image"], row["State"]) == (id, "web", "tools", "running")
    found = json.loads(docker("inspect", "web").stdout)[0]
    assert (found["Id"], found["State"]["Running"], found["Config"]["Image"]) == (id, True, "tools")
    assert docker("exec", "web", "sh", "-c", "echo here; exit 4", code=4).stdout == "here\n"
    assert docker("exec", "-i", "web", "cat", input="x").stdout == "x"
    assert (
        "executable file not found"
        in docker("exec", "web", "nosuch", code=127).stdout + docker("exec", "web", "nosuch", code=127).stderr
    )
    assert "sh -c" in docker("top", "web").stdout
    assert docker("stats", "--no-stream", "--format", "{{.Name}}", "web").stdout == "web\n"
    assert docker("stop", "-t", "0", "web").stdout == "web\n"
    assert docker("wait", "web").stdout == "137\n"
    assert docker("logs", "web").stdout.startswith("tick 0\ntick 1\n")
    assert docker("logs", "-t", "--tail", "1", "web").stdout.count("\n") == 1
    docker("start", "web")
    docker("restart", "-t", "0", "web")
    docker("kill", "-s", "KILL", "web")
    docker("wait", "web")
    docker("rm", "web")


def test_images(docker: Docker) -> None:
    assert docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout == "tools:latest\n"
    assert docker("images", "-q", "--filter", "label=made=here").stdout.strip()
    docker("tag", "tools", "other:1")
    assert json.loads(docker("image", "inspect", "other:1").stdout)[0]["RepoTags"] == ["other:1", "tools:latest"]
    assert docker("rmi", "other:1").stdout == "Untagged: other:1\n"
    assert "from-host" in docker("history", "--no-trunc", "tools").stdout
    docker("create", "--name", "user", "tools", "true")
    assert "(must force)" in docker("rmi", "tools", code=1).stderr


def test_start_attached(docker: Docker) -> None:
    docker("create", "-i", "--name", "later", "tools", "sh", "-c", "cat; exit 6")
    assert docker("start", "-ai", "later", input="fed", code=6).stdout == "fed"
