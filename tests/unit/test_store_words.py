"""`ground store …` on stores that nobody has open: words, numbers, refusals, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundplane.cli.main import run_line
from groundplane.daemon import storecare


@pytest.fixture
def url(state_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of three keys that is this instance's own; nobody runs."""
    for name in ("GROUND_STORE", "GROUND_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GROUND_ROOT", str(state_root / "root"))
    monkeypatch.setenv("GROUND_RUN", str(state_root / "run"))
    path = state_root / "root" / "store" / "cluster.db"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)

    async def fill(store: storecare.Store) -> None:
        for number in range(3):
            await store.create(f"/registry/configmaps/default/m{number}", b"x")

    storecare.on_stopped(f"sqlite:{path}", fill)
    return f"sqlite:{path}"


def test_looking_after_a_stopped_store(url: str, state_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert run_line(["store", *words]) == code
        caught = capsys.readouterr()
        return caught.out + caught.err

    backup = state_root / "backup"
    assert "Keys:             3\n" in said("status")
    assert json.loads(said("status", "--format", "json"))["revision"] == 3
    assert said("backup", str(backup)).startswith(f"Backup of revision 3 in {backup}")
    assert "exists" in said("backup", str(backup), code=1)
    assert said("check") == "The store is sound.\n"
    assert json.loads(said("check", "--format", "json")) == {"problems": []}
    assert "oldest revision that can be read is 2" in said("compact", "--revision", "2")
    assert "in the future" in said("compact", "--revision", "9", code=1)
    assert "--replace" in said("restore", str(backup), code=1)
    assert "Restored 3 keys; revision 1000000003\n" in said("restore", "--replace", str(backup))
    assert "there is no backup" in said("restore", "/nowhere", code=2)
    moved = f"sqlite:{state_root}/moved.db"
    assert "Copied 3 keys" in said("migrate", moved)
    assert "exists already, and is not replaced; name a new place" in said("migrate", moved, code=1)
    assert json.loads(said("status", "--format", "json", "--store", moved))["keys"] == 3
    assert json.loads(said("status", "--format", "json"))["keys"] == 3


def test_what_is_wrong_is_one_sentence_with_what_to_do(
    url: str, state_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str, code: int) -> str:
        assert run_line(["store", *words]) == code
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "Errno" not in told and "Traceback" not in told
        return told

    backup, damaged = state_root / "backup", state_root / "damaged.db"
    storecare.on_stopped(url, lambda store: storecare.backup(store, str(backup)))
    assert said("backup", f"{state_root}/none/b", code=1).endswith("/none/b: No such file or directory\n")
    damaged.write_bytes(b"noise" * 1000)
    told = said("status", "--store", f"sqlite:{damaged}", code=1)
    assert f"cannot open {damaged}: file is not a database; it is damaged: restore a sound backup" in told
    told = said("restore", str(damaged), "--store", f"sqlite:{state_root}/new.db", code=1)
    assert f"cannot read the backup {damaged}: file is not a database" in told
    damaged.write_bytes(backup.read_bytes()[:-9000] + b"\xff" * 9000)
    told = said("restore", str(damaged), "--store", f"sqlite:{state_root}/new.db", code=1)
    assert f"{damaged}" in told and ".restoring" not in told
    for words in (
        ["migrate", "memory:"],
        ["restore", str(backup), "--store", "memory:"],
        ["status", "--store", "memory:"],
    ):
        assert "a store in memory is its process's alone" in said(*words, code=2)
    assert "`memory:`, `sqlite:/path` or `etcd://host:port` expected" in said("status", "--store", "sqlite:", code=2)
    told = said("status", "--store", "etcd://127.0.0.1:1?timeout=0.2", code=1)
    assert told == "store: no member of etcd answers (http://127.0.0.1:1): Connection refused\n"
    told = said("status", "--store", "etcd://h?cafile=/nowhere/ca", code=1)
    assert told == "store: cannot use the TLS files of etcd (/nowhere/ca): No such file or directory\n"


def test_words_that_are_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_line(["store"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {verb} " in listed for verb in ("status", "backup", "restore", "compact", "check", "migrate"))
    for words, told in (
        (["fold"], "'fold' is not a ground store command"),
        (["status", "--format", "xml"], "format 'xml' is not known"),
        (["status", "--store", "mysql:x"], "`memory:`"),
        (["status", "--store", "sqlite:/nowhere/store.db"], "there is no store at /nowhere/store.db"),
        (["backup"], "requires 1 argument"),
        (["compact", "--revision", "0"], "1 or more expected"),
    ):
        assert run_line(["store", *words]) != 0
        assert told in capsys.readouterr().err
