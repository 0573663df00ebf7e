"""Bad input through the command line: one sentence, runc's exit code, no cgroup, mount, file or process left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from tests.real.bundles import Box, CommandLine

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def box(box: Box) -> Box:
    box.process["args"] = ["true"]
    return box


def no_root(box: Box) -> None:
    box.config["root"]["path"] = "nowhere"


def file_as_root(box: Box) -> None:
    box.config["root"]["path"] = "rootfs/bin/busybox"


def empty_root(box: Box) -> None:
    (box.directory / "empty").mkdir()
    box.config["root"] = {"path": "empty"}


def text_as_program(box: Box) -> None:
    box.write("/bin/text", "text", 0o644)
    box.process["args"] = ["/bin/text"]


def garbage_as_program(box: Box) -> None:
    box.write("/bin/garbage", "\x01\x02", 0o755)
    box.process["args"] = ["garbage"]


def script_without_interpreter(box: Box) -> None:
    box.write("/bin/script", "#!/no/such\n", 0o755)
    box.process["args"] = ["script"]


BAD: list[tuple[Callable[[Box], object], str]] = [
    (no_root, "invalid rootfs: stat"),
    (file_as_root, "invalid rootfs: stat"),
    (empty_root, 'exec: "true": executable file not found in $PATH'),
    (text_as_program, 'exec: "/bin/text": permission denied'),
    (garbage_as_program, "exec /bin/garbage: exec format error"),
    (script_without_interpreter, "exec /bin/script: no such file or directory"),
    (lambda b: b.config.pop("root"), "root must be specified"),
    (lambda b: b.config.update(ociVersion="2.0.0"), 'unsupported ociVersion "2.0.0"'),
    (lambda b: b.config.update(mounts={"a": 1}), "config.json: mounts: a list is expected, not an object"),
    (lambda b: b.config.update(mounts=[{"destination": ""}]), "mounts[0].destination: must not be empty"),
    (lambda b: b.config["mounts"].append({"destination": "/x\0y", "type": "tmpfs"}), "a NUL byte is not allowed"),
    (lambda b: b.process.update(cwd="relative"), "Cwd must be an absolute path"),
    (lambda b: b.process.update(args=[]), "args must not be empty"),
    (lambda b: b.process.update(env=["broken"]), 'invalid environment variable: "broken"'),
    (lambda b: b.process.update(user={"uid": 2**32}), "process.user.uid: 4294967296 is not between 0 and 4294967295"),
    (lambda b: b.process.update(user={"uid": 2**32 - 1}), "uids and gids must be in range 0-2147483647"),
    (lambda b: b.process.update(user={"gid": 2**31}), "uids and gids must be in range 0-2147483647"),
    (lambda b: b.process.update(user={"additionalGids": [2**32 - 1]}), "uids and gids must be in range 0-2147483647"),
    (
        lambda b: b.process.update(capabilities={"effective": ["CAP_KILL"]}),
        "unable to apply caps: operation not permit",
    ),
    (lambda b: b.process.update(rlimits=[{"type": "RLIMIT_WISH"}]), "invalid rlimit type: RLIMIT_WISH"),
    (lambda b: b.process.update(oomScoreAdj=9999), "process.oomScoreAdj: 9999 is not between -1000 and 1000"),
    (lambda b: b.linux.update(namespaces=[{"type": "dream"}, {"type": "mount"}]), '"dream" is no namespace'),
    (lambda b: b.namespace("network", "/no/such"), "lstat /no/such: no such file or directory"),
    (lambda b: b.namespace("network", "/etc/hostname"), "setns /etc/hostname: invalid argument"),
    (lambda b: b.linux["namespaces"].append({"type": "pid"}), 'duplicated ns "pid"'),
    (lambda b: b.linux.update(uidMappings=[{"size": 1}]), "user namespace isn't enabled in the config"),
    (
        lambda b: b.linux.update(seccomp={"defaultAction": "SCMP_ACT_WISH"}),
        "string SCMP_ACT_WISH is not a valid action",
    ),
    (lambda b: b.linux.update(devices=[{"type": "x", "path": "/x"}]), "'x' is no device type"),
    (
        lambda b: b.linux.update(sysctl={"kernel.panic": "1"}),
        'sysctl "kernel.panic" is not in a separate kernel namesp',
    ),
    (lambda b: b.linux.update(maskedPaths=["relative"]), "must be absolute"),
    (lambda b: b.linux.update(rootfsPropagation="up"), "rootfsPropagation=up is not supported"),
    (lambda b: b.config.update(hooks={"prestart": [{"path": "relative"}]}), "an absolute path is expected"),
    (lambda b: b.config.update(hooks={"prestart": [{"path": "/x", "timeout": 0}]}), "more than zero seconds"),
]


# What execve(2) alone finds out is found out by `start`.
_LATE = (garbage_as_program, script_without_interpreter)
_BOTH = [(verb, *bad) for bad in BAD for verb in ("create", "run") if not (verb == "create" and bad[0] in _LATE)]


@pytest.mark.parametrize(("verb", "change", "sentence"), _BOTH)
def test_one_sentence_and_nothing_left(box: Box, verb: str, change: Callable[[Box], object], sentence: str) -> None:
    change(box)
    box.save()
    state = box.directory / "state"
    done = CommandLine(state)(verb, "c", cwd=box.directory)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"runc {verb} failed: " in done.stderr
    assert sentence in done.stderr.replace('\\"', '"')
    assert not state.exists() or os.listdir(state) == []


OVERSIZED = [
    ('{"ociVersion": "1.2.0", "annotations": {"a": "' + "x" * (65 << 20) + '"}}', "larger than 67108864 bytes"),
    ("[" * 200_000, "not a JSON document"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "not a JSON document"),
    ('{"ociVersion": "1.2.0", "root": {"path": "rootfs"}}' + " " * 1000 + "x", "not a JSON document"),
    ('{"ociVersion": "1.2.0"', "not a JSON document"),
    ('{"ociVersion": NaN}', "not a JSON document"),
    ("\ud800", "not UTF-8"),
    ("9" * 5000, "not a JSON document"),
]


@pytest.mark.parametrize(("text", "sentence"), OVERSIZED)
def test_what_is_no_document(box: Box, text: str, sentence: str) -> None:
    (box.directory / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    done = CommandLine(box.directory / "state")("run", "c", cwd=box.directory)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr


def test_many_of_everything_is_no_trouble(box: Box) -> None:
    """A large document is not a wrong one."""
    box.config["annotations"] = {f"key{n}": "x" * 100 for n in range(5000)}
    box.process["env"] += [f"V{n}={n}" for n in range(2000)]
    box.linux["maskedPaths"] += [f"/absent/{n}" for n in range(500)]
    for number in range(60):
        box.mount(f"/many/{number}", "tmpfs", "tmpfs", "size=4k")
    box.process["args"] = ["sh", "-c", "echo $V1999; ls /many | wc -l"]
    box.save()
    done = CommandLine(box.directory / "state")("run", "c", cwd=box.directory)
    assert done.stdout.split() == ["1999", "60"], done.stderr


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a b", "ä", "a\n", "-a", "x" * 300])
def test_ids(box: Box, id: str) -> None:
    """runc's letters: word characters and `+-.`."""
    box.save()
    done = CommandLine(box.directory / "state")("create", "--", id, cwd=box.directory)
    if id == "-a":
        assert done.returncode == 0
        assert CommandLine(box.directory / "state")("delete", "--force", "--", id).returncode == 0
        return
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    words = ("container id cannot be empty", "invalid container ID format", "file name too long")
    assert any(sentence in done.stderr for sentence in words)


def test_an_id_twice(box: Box) -> None:
    box.save()
    command = CommandLine(box.directory / "state")
    assert command("create", "c", cwd=box.directory).returncode == 0
    before = json.loads(command("state", "c").stdout)
    for verb in ("create", "run"):
        done = command(verb, "c", cwd=box.directory)
        assert done.returncode == 1
        assert "container with given ID already exists" in done.stderr
    assert json.loads(command("state", "c").stdout) == before, "and the first is undisturbed"
    assert command("delete", "--force", "c").returncode == 0


GARBLED = [
    "",
    "{",
    "[]",
    "null",
    '{"id": "c"}',
    "\x00" * 64,
    '{"id":"c","pid":"1","startTime":0,"bundle":"","rootfs":"","cgroup":"","created":"","owner":0,"config":{}}',
    '{"id":"c","pid":0,"startTime":0,"bundle":"","rootfs":"","cgroup":"","created":"","owner":0,"config":[]}',
    '{"id":"c","pid":-5,"startTime":7,"bundle":"","rootfs":"","cgroup":"","created":"","owner":0,"config":{"root":1}}',
]


@pytest.mark.parametrize("text", GARBLED)
def test_a_garbled_state_is_a_sentence(box: Box, text: str) -> None:
    """A torn or foreign state.json breaks no verb. As with runc it stays: nobody knows what it was the state of."""
    state = box.directory / "state"
    (state / "c").mkdir(parents=True)
    (state / "c/state.json").write_text(text)
    ground = CommandLine(state)
    verbs = (["list"], ["state", "c"], ["ps", "c"], ["kill", "c"], ["start", "c"], ["exec", "c", "true"])
    for words in (*verbs, ["delete", "--force", "c"]):
        done = ground(*words)
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 1
        assert done.returncode == 0 or done.stderr
