"""The Docker SDK for Python as a judge of our API."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from tests.real.ground_rig import Ground, ground

docker = pytest.importorskip("docker")
pytestmark = pytest.mark.needs("root", "overlay", "cgroups")


@pytest.fixture(scope="module")
def instance() -> Iterator[Ground]:
    with ground() as made:
        made.ok("image", "from-host", "--name", "tools", "sh", "cat", "sleep", "true")
        yield made


@pytest.fixture
def client(instance: Ground) -> Iterator[Any]:
    made = docker.DockerClient(base_url=f"unix://{instance.socket}", timeout=30)
    try:
        yield made
        for container in made.containers.list(all=True):
            container.remove(force=True)
    finally:
        made.close()


def test_ping_version_info(client: Any) -> None:
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.47"
    assert client.info()["OSType"] == "linux"


def test_run(client: Any) -> None:
    assert client.containers.run("tools", ["sh", "-c", "echo hello"], remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("tools", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"bad\n")
    with pytest.raises(docker.errors.ImageNotFound):
        client.containers.create("nosuch")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nosuch")


# The SDK leaves the connections of its exec and stats calls to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_life(client: Any) -> None:
    made = client.containers.run(
        "tools", ["sh", "-c", "echo up; sleep 1000"], detach=True, name="web", labels={"a": "b"}
    )
    assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["web"]
    made.reload()
    assert made.status == "running"
    assert made.exec_run(["sh", "-c", "echo in; echo err >&2; exit 5"], demux=True) == (5, (b"in\n", b"err\n"))
    assert b"".join(made.exec_run(["cat", "/etc/group"], stream=True).output).startswith(b"root:")
    assert next(made.logs(stream=True, follow=True)) == b"up\n"
    assert made.top()["Titles"][1] == "PID"
    assert made.stats(stream=False)["pids_stats"]["current"] >= 1
    made.stop(timeout=0)
    assert made.wait()["StatusCode"] == 137
    assert made.logs() == b"up\n"
    with pytest.raises(docker.errors.APIError) as caught:
        made.exec_run("true")
    assert caught.value.status_code == 409
    made.remove()
    del made, caught
    gc.collect()  # here, not in a later test


def test_attach_and_standard_input(client: Any) -> None:
    made = client.containers.create("tools", "cat", stdin_open=True)
    made.start()
    socket = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    try:
        socket._sock.sendall(b"there and back\n")
        assert socket.read(8 + 15)[8:] == b"there and back\n"
    finally:
        socket._response.close()  # and with it the socket: a response over a closed one complains when it is collected
    made.remove(force=True)


def test_images(client: Any) -> None:
    image = client.images.get("tools")
    assert image.tags == ["tools:latest"]
    assert image.tag("other", tag="1")
    assert len(client.images.list(name="other")) == 1
    client.images.remove("other:1")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("other:1")


def test_events(client: Any) -> None:
    stream = client.events(decode=True, filters={"type": "container"})
    made = client.containers.create("tools", "true")
    assert next(stream)["Action"] == "create"
    made.start()
    seen = [next(stream) for _ in range(2)]
    assert [event["Action"] for event in seen] == ["start", "die"]
    assert seen[1]["Actor"]["Attributes"]["exitCode"] == "0"
    stream.close()
