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
    assert json.loads(said("status", "--format", "json", "--store", moved))["keys"] == 3
    assert json.loads(said("status", "--format", "json"))["keys"] == 3


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
