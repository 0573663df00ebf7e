"""The journey's numbers are the code's, its files are there, and the functions it names exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "groundplane"
PAGE = (ROOT / "docs" / "journey.md").read_text()

# (how a row of the page begins, what its second cell says, module, name, the value that this means)
NUMBERS: tuple[tuple[str, str, str, str, object], ...] = (
    ("connections not yet accepted", "1,024", "serve.listeners", "BACKLOG", 1024),
    ("body", "3 MiB", "apiserver.verbs.body", "LIMIT", 3 << 20),
    ("checked token signatures", "4,096", "apiserver.access.tokens", "_REMEMBERED", 4096),
    ("RBAC answers", "8,192", "apiserver.access.rbac", "_REMEMBERED", 8192),
    ("tries of a generated name", "8", "apiserver.verbs.write", "GENERATE_TRIES", 8),
    ("races of an update", "64", "apiserver.verbs.write", "RACE_TRIES", 64),
    ("rows of one commit", "1,024", "store.drivers.sqlite.writer", "_BATCH", 1024),
    ("a watcher's queue in the store", "100,000", "store.fanout", "QUEUE_LIMIT", 100_000),
    ("recent changes of one resource", "4,096", "apiserver.cache.collection", "HISTORY", 4096),
    ("a watcher's queue |", "16,384", "apiserver.cache.watcher", "LIMIT", 16384),
    ("pieces of a long list", "256", "apiserver.render", "_PIECE", 256),
    ("page of a first list", "500", "client.client", "PAGE", 500),
    ("events not yet written", "1,000", "client.events", "MAX_QUEUED", 1000),
    ("tries of one event", "12", "client.events", "TRIES", 12),
    ("similar events", "10 in", "client.correlate", "SIMILAR_EVENTS", 10),
    ("decisions in a row", "16", "scheduler.loop", "BREATH", 16),
    ("bindings under way", "256", "scheduler.loop", "MAX_BINDINGS", 256),
    ("classes of equal pods", "128", "scheduler.cycle", "MAX_CLASSES", 128),
    ("events of the engine", "10,000", "engine.containers.events", "_LIMIT", 10_000),
    ("kept ConfigMaps and Secrets", "1 s", "node.sources", "_KEEP", 1.0),
    ("pods of a node", "110", "node.registration", "MAX_PODS", 110),
    ("threads that delete links", "8", "engine.networks.pods", "_REAPERS", 8),
    ("a message to spawner", "128 KiB", "wire.spawner", "MAX_MESSAGE", 128 << 10),
    ("a message to spawner", "32 KiB of output", "wire.spawner", "MAX_CHUNK", 32 << 10),
    ("a spawner's answer", "10 s", "engine.containers.link", "_PATIENCE", 10.0),
    ("the container's stdout and stderr", "64 KiB", "runtime.resident.output", "CHUNK", 64 << 10),
    ("spool of one stream", "1 MiB", "runtime.resident.output", "SPOOL_LIMIT", 1 << 20),
    ("a line of the log", "16 KiB", "runtime.resident.output", "MAX_LINE", 16 << 10),
    ("log file", "10 MiB", "engine.containers.bundle", "LOG_MAX_BYTES", 10 << 20),
    ("log file", "five", "engine.containers.bundle", "LOG_FILES", 5),
    ("an end without a supervisor", "256", "runtime.resident.spawner", "_STATUSES", 256),
    ("endpoints of one slice", "100", "controllers.endpointslice.plan", "MAX_ENDPOINTS", 100),
    ("Services of one transaction", "500", "dataplane.services.loop", "_MOST_AT_ONCE", 500),
    ("DNS questions being answered", "2,000", "dataplane.dns.server", "_MOST_WAITING", 2000),
    ("DNS connections over TCP", "100", "dataplane.dns.server", "_MOST_CONNECTIONS", 100),
    ("forwarded questions under way", "1,000", "dataplane.dns.forward", "_MOST_IN_FLIGHT", 1000),
    ("forwarded answers kept", "1,000", "dataplane.dns.cache", "_MOST", 1000),
)


@pytest.mark.parametrize(("row", "text", "module", "name", "value"), NUMBERS, ids=[f"{n[2]}.{n[3]}" for n in NUMBERS])
def test_a_number_is_the_codes(row: str, text: str, module: str, name: str, value: object) -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| {row}")]
    assert len(lines) == 1 and text in lines[0].split("|")[2], f"the row {row!r} of docs/journey.md"
    assert getattr(importlib.import_module(f"groundplane.{module}"), name) == value, f"docs/journey.md says {text}"


def test_files_are_there() -> None:
    named = re.findall(r"`([a-z_]+/[\w/]+\.py)", PAGE)
    assert len(named) > 40
    assert [name for name in named if not (SOURCE / name).exists()] == []


def test_functions_exist() -> None:
    """Each name in backquotes that looks like one of ours: `_pod_came`, `Worker._run`, `starting.start_container`."""
    sources = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    defined = set(re.findall(r"^\s*(?:async def|def|class) (\w+)", sources, re.MULTILINE))
    constants = set(re.findall(r"^\s*(?:self\.)?(\w+)(?:: [^=\n]+)? = ", sources, re.MULTILINE))
    named = {name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_]+(?:\.[a-z_]+)*)`", PAGE)}
    ours = {name for name in named if "_" in name.strip("_") or name.startswith("_") or name[:1].isupper()}
    assert ours - defined - constants - {"P", "RUN", "ROOT"} == set()
