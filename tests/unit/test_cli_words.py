"""What the command line prints and reads: templates, tables, sizes, durations, create requests, places, verbs."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundplane.base.errors import GroundError, UsageError
from groundplane.base.settings import Settings
from groundplane.cli import container_flags, from_host, logs, run
from groundplane.cli.main import help_text, run_line
from groundplane.cli.place import Place
from groundplane.cli.tables import ellipsis, filter_argument, listing, table
from groundplane.cli.template import Template, TemplateError
from groundplane.cli.units import BadValue, human_binary, human_duration, human_size, parse_size
from groundplane.cli.verbs import NOT_OFFERED, VERBS

DOCUMENT: dict[str, Any] = {
    "Name": "/web",
    "State": {"Running": True, "Pid": 7, "Error": ""},
    "Labels": {"b": "2", "a": "1"},
    "Mounts": [{"Source": "/x"}, {"Source": "/y"}],
    "Args": ["a", "b c"],
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}!", "/web!"),
        ("{{ .State.Pid }}", "7"),
        ("{{json .State}}", '{"Running":true,"Pid":7,"Error":""}'),
        ("{{.Labels}} {{.Args}} {{.Nothing}}", "map[a:1 b:2] [a b c] <no value>"),
        ('{{index .Labels "a"}}{{index .Labels "none"}}', "1"),
        ("{{index .Args 0}}", "a"),
        ("{{len .Mounts}}", "2"),
        ("{{range .Mounts}}{{.Source}};{{end}}", "/x;/y;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range $m := .Mounts}}{{$m.Source}}{{$.Name}}{{end}}", "/x/web/y/web"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}a{{else if .Name}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{end}}", "7"),
        ("{{.Name | upper | printf `%s-%s` `x`}}", "x-/WEB"),
        ('{{join .Args ", "}}', "a, b c"),
        ("{{if and .Name (eq .State.Pid 7)}}yes{{end}}{{if not (gt 1 2)}}!{{end}}", "yes!"),
        ("{{/* a comment */}}a {{- .Name -}}  b", "a/webb"),
        ('{{printf "%q %d%%" .Name .State.Pid}}', '"/web" 7%'),
        ("{{$x := .Name}}{{$x}}", "/web"),
        ("{{println .Name}}", "/web\n"),
    ],
)
def test_templates(source: str, text: str) -> None:
    assert Template(source).render(DOCUMENT) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{.Missing}}",
        "{{.Name.Deeper}}",
        "{{nosuch .Name}}",
        "{{.Name",
        "{{end}}",
        "{{if .Name}}x",
        "{{define `x`}}{{end}}",
        "{{.Name ? 1}}",
        "{{index .Args 9}}",
        "{{$x}}",
        "{{len .State.Pid}}",
        "{{}}",
        "{{(.Name}}",
        '{{"\\x"}}',
    ],
)
def test_wrong_templates_are_one_sentence(source: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source).render(DOCUMENT)
    assert caught.value.exit_code == 64 and "\n" not in str(caught.value)


def test_tables() -> None:
    assert table(["ID", "NAME"], [["1", "a long name here"], ["22", "b"]]) == (
        "ID        NAME\n1         a long name here\n22        b\n"
    )
    rows = [{"ID": "1", "Name": "x"}]
    headers = {"ID": "CONTAINER ID", "Name": "NAMES"}
    assert listing(rows, [("CONTAINER ID", "ID")], "", headers) == "CONTAINER ID\n1\n"
    assert listing(rows, [], "json", headers) == '{"ID": "1", "Name": "x"}\n'
    assert listing(rows, [], "{{.Name}}\\t{{.ID}}", headers) == "x\t1\n"
    assert listing(rows, [], "table {{.Name}}\\t{{.ID}}", headers).split() == ["NAMES", "CONTAINER", "ID", "x", "1"]
    assert ellipsis("abcdef", 4) == "abc…" and ellipsis("abcd", 4) == "abcd"


def test_filters() -> None:
    assert filter_argument([]) == ""
    assert filter_argument(["label=a=b", "label=c", "name=x"]) == '{"label": ["a=b", "c"], "name": ["x"]}'
    with pytest.raises(UsageError):
        filter_argument(["broken"])


def test_units() -> None:
    assert [human_size(n) for n in (0, 999, 49_600_000, 1_240_000_000)] == ["0B", "999B", "49.6MB", "1.24GB"]
    assert human_binary(3 << 20) == "3MiB"
    assert [parse_size(t, "-m") for t in ("512", "64k", "1.5g", "10MB", "2KiB")] == [
        512,
        65536,
        3 << 29,
        10 << 20,
        2048,
    ]
    for wrong in ("", "x", "5q", "-1"):
        with pytest.raises(BadValue):
            parse_size(wrong, "-m")
    seconds = (0.5, 1, 59, 60, 150, 3600, 7200, 86400 * 3, 86400 * 20, 86400 * 90, 86400 * 800)
    assert [human_duration(s) for s in seconds] == [
        "Less than a second",
        "1 second",
        "59 seconds",
        "About a minute",
        "2 minutes",
        "About an hour",
        "2 hours",
        "3 days",
        "2 weeks",
        "3 months",
        "2 years",
    ]


def body(*words: str) -> dict[str, Any]:
    given = run.COMMAND.parse(list(words))
    assert given is not None
    return container_flags.create_body(given, attached=True)


def test_create_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN", "from here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env").write_text("# comment\n\nFILE=1\nTAKEN\nLOST\n")
    made = body(
        *("-i", "-e", "A=1", "-e", "TAKEN", "-e", "LOST", "--env-file", "env", "-v", "./d:/d:ro", "-v", "/x:/y"),
        *("-m", "64m", "--cpus", "1.5", "--entrypoint", "", "--ulimit", "nofile=10:20", "--ulimit", "core=0"),
        *("--tmpfs", "/t:size=1m", "--mount", "type=bind,src=./s,dst=/m,readonly", "-l", "k=v", "--net", "host"),
        *("--device", "/dev/null:/dev/n:r", "--stop-timeout", "3", "image", "-c", "word"),
    )
    host = made["HostConfig"]
    assert made["Env"] == ["FILE=1", "TAKEN=from here", "A=1", "TAKEN=from here"]
    assert (made["Image"], made["Cmd"], made["Entrypoint"], made["StopTimeout"]) == ("image", ["-c", "word"], [""], 3)
    assert host["Binds"] == [f"{tmp_path}/d:/d:ro", "/x:/y"]
    assert (host["Memory"], host["NanoCpus"], host["NetworkMode"]) == (64 << 20, 1_500_000_000, "host")
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 10, "Hard": 20}, {"Name": "core", "Soft": 0, "Hard": 0}]
    assert host["Tmpfs"] == {"/t": "size=1m"}
    assert host["Mounts"] == [{"Type": "bind", "Source": f"{tmp_path}/s", "Target": "/m", "ReadOnly": True}]
    assert host["Devices"] == [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r"}]
    assert made["OpenStdin"] and made["StdinOnce"] and not made["Tty"]


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "80:80", "i"],
        ["-m", "much", "i"],
        ["--cpus", "x", "i"],
        ["--ulimit", "nofile", "i"],
        ["--mount", "type=bind", "i"],
        ["--mount", "what=x,dst=/m", "i"],
        ["-v", "/only", "i"],
        ["-e", "=x", "i"],
        ["--env-file", "/nowhere", "i"],
        ["--security-opt", "seccomp=/nowhere", "i"],
        ["--oom-score-adj", "x", "i"],
    ],
)
def test_wrong_create_flags_are_125(words: list[str]) -> None:
    with pytest.raises(GroundError) as caught:
        body(*words)
    assert caught.value.exit_code == 125


def test_log_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 10_000.0)
    assert logs.moment("") == "" and logs.moment("123.5") == "123.5"
    assert logs.moment("2026-01-02T00:00:00Z") == "2026-01-02T00:00:00Z"
    assert logs.moment("2026-01-02") == "2026-01-02T00:00:00Z"
    assert logs.moment("1h30m") == "4600.000000000"
    with pytest.raises(BadValue):
        logs.moment("soon")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("nocolon", "SRC:DST expected"),
        (":x", "SRC:DST expected"),
        ("../../etc:/x", "leads out of this directory"),
        ("a/../../b:/x", "leads out"),
    ],
)
def test_hostile_add_words(word: str, words: str) -> None:
    with pytest.raises(GroundError, match=words):
        from_host._add(word)


def test_programs_behind_shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(path: str) -> str:
        found = tmp_path / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text("")
        found.chmod(0o755)
        return str(found)

    shim, real, plain = program("shims/py"), program("versions/3.9/bin/py"), program("bin/py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{os.path.dirname(shim)}:{os.path.dirname(plain)}")
    monkeypatch.delenv("PYENV_VERSION", raising=False)
    assert from_host._program("py") == plain  # the shim leads nowhere
    (tmp_path / "version").write_text("3.9\n")
    assert from_host._program("py") == real
    monkeypatch.setenv("PYENV_VERSION", "none")
    assert from_host._program("py") == plain
    with pytest.raises(UsageError):
        from_host._program("nosuch")


def test_the_place_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUND_RUN", "GROUND_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GROUND_CONFIG", "/nowhere")
    assert Place().socket == Settings().engine_socket == Place().settings().engine_socket
    monkeypatch.setenv("GROUND_RUN", "/r")
    assert Place().socket == Place().settings().engine_socket == "/r/ground.sock"
    assert Place(run="/s").socket == Place(run="/s").settings().engine_socket == "/s/ground.sock"


def test_every_verb_has_its_module() -> None:
    text = help_text()
    for name, (module, summary, _) in VERBS.items():
        assert f"  {name} " in text and summary in text
        work: Callable[..., int] = importlib.import_module(f"groundplane.cli.{module}").run
        assert callable(work)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apiserver", "--root", "/nope", "--port", "99999"], "setting api_port: a port from 1 to 65535"),
        (["node", "--kubeconfig", "/nope", "--port", "99999"], "setting kubelet_port: a port from 1 to 65535"),
        (["node", "--kubeconfig", "/nope", "--pod-cidr", "here"], "setting pod_cidr: an IPv4 range expected"),
        (["--root", "", "doctor"], "setting root: it is empty"),
        (["--run", "/" + 120 * "x", "ps"], "AF_UNIX path too long"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(words) in (1, 2)
    assert said in capsys.readouterr().err


def test_dockers_other_verbs_say_what_works_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert not set(NOT_OFFERED) & set(VERBS)
    assert run_line(["pull", "nginx"]) == 2
    assert capsys.readouterr().err == (
        "ground pull: registries are not offered yet: make an image with `ground image from-host`\n"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 0), (["--help"], 0), (["nosuch"], 2), (["--nope"], 2), (["run"], 1), (["ps", "--x"], 125), (["--run"], 2)],
)
def test_exit_codes_without_an_engine(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_line(words) == code
    assert bool(capsys.readouterr().err) == (code != 0)
