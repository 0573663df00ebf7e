#!/usr/bin/env python3
"""Makes the pages of docs/reference that the code can tell: run it after a verb, a setting or a route changed.

    tools/generate_reference.py             writes the pages
    tools/generate_reference.py --check     only says which ones are not what the code says

`docs/reference/fields.md` is written by hand. `tests/style/test_style_reference.py` holds the pages to the code.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import groundplane.cli
from groundplane.base import settings
from groundplane.cli import verbs
from groundplane.cli.kube import VERBS as KUBE_VERBS
from groundplane.cli.options import Command
from groundplane.daemon.routes import platform_routes
from groundplane.dockerapi.app import ROUTES
from groundplane.dockerapi.refused import REFUSED
from groundplane.kinds.resources import Resource, resources
from groundplane.runtime import help
from groundplane.runtime.commands import VERBS

PAGES = Path(__file__).resolve().parents[1] / "docs" / "reference"
_HEAD = "<!-- Made by tools/generate_reference.py; do not edit. -->\n\n"

# Who acts on a resource beyond keeping it. What is not named here is decoded, completed, checked, stored, shown and
# watched, and changes nothing else. Upstream's own "only stored" kinds (PodTemplate) are not told apart.
ACTORS: dict[tuple[str, str], str] = {
    ("", "bindings"): "API server: binds a pod to a node",
    ("", "componentstatuses"): "always an empty list",
    ("", "configmaps"): "node: volumes and environment",
    ("", "endpoints"): "endpoints controller writes them; those written by hand are not mirrored into slices",
    ("", "events"): "recorders write them; removed an hour after they last happened",
    ("", "limitranges"): "admission (LimitRanger): defaults and bounds",
    ("", "namespaces"): "namespace controller; admission (NamespaceLifecycle, PodSecurity)",
    ("", "nodes"): "node; node lifecycle, node IPAM, taint eviction controllers; scheduler",
    ("", "pods"): "scheduler; node; pod garbage collector",
    ("", "replicationcontrollers"): "replication controller",
    ("", "secrets"): "node: volumes and environment",
    ("", "serviceaccounts"): "service account controller; admission; tokens",
    ("", "services"): "API server: addresses and node ports; endpoint slices; data plane: rules and DNS",
    ("apps", "deployments"): "deployment controller",
    ("apps", "replicasets"): "replica set controller",
    ("authentication.k8s.io", "selfsubjectreviews"): "answered",
    ("authentication.k8s.io", "tokenreviews"): "answered",
    ("authorization.k8s.io", "localsubjectaccessreviews"): "answered",
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "answered",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "answered",
    ("authorization.k8s.io", "subjectaccessreviews"): "answered",
    ("coordination.k8s.io", "leases"): "node: its heartbeat; read by the node lifecycle controller",
    ("discovery.k8s.io", "endpointslices"): "endpoint slice controller writes them; data plane: rules and DNS",
    ("events.k8s.io", "events"): "another face of the core events",
    ("networking.k8s.io", "ingressclasses"): "admission: the default class",
    ("networking.k8s.io", "ingresses"): "admission: the default class; nothing routes by them",
    ("node.k8s.io", "runtimeclasses"): "admission: overhead and scheduling; the handler is not used",
    ("policy", "poddisruptionbudgets"): "evictions read the status; nothing computes it, so they are refused",
    ("rbac.authorization.k8s.io", "clusterrolebindings"): "authorization",
    ("rbac.authorization.k8s.io", "clusterroles"): "authorization; aggregation controller",
    ("rbac.authorization.k8s.io", "rolebindings"): "authorization",
    ("rbac.authorization.k8s.io", "roles"): "authorization",
    ("scheduling.k8s.io", "priorityclasses"): "admission: a pod's priority; the scheduler's order (no preemption)",
    ("storage.k8s.io", "storageclasses"): "admission: the default class; nothing provisions",
}
# Subresources that are listed in discovery and answered with one sentence, or not at all.
REFUSED_SUBRESOURCES = {("", "attach"), ("", "portforward"), ("", "proxy")}

_CLI = """\
# The command line

`ground [--root DIR] [--run DIR] COMMAND`. The two options choose the instance, as `GROUND_ROOT` and `GROUND_RUN` do.
Exit codes of the engine's verbs are docker's; `ground status` ends with 3 where nothing runs.
"""
_SETTINGS = """\
# Settings

One value each. What comes later in this list wins: the default; the file (`/etc/groundplane/config.yaml`, or the one
that `GROUND_CONFIG` names), a YAML mapping of the names below; the environment variable; a flag of the command line.
A name that is not known is refused. What `ground up` was given is remembered in `platform.json` below the root until
`ground down --purge`, and counts where nothing else was said.

| setting | environment | default | |
|---|---|---|---|
"""
_SETTINGS_END = """
Where the default is empty, the last column says what is taken instead.

Other variables that are read: `KUBECONFIG` (which cluster `ground kube` works with), `SOURCE_DATE_EPOCH` and `PATH`
(`ground image from-host`); and, not for users, `GROUND_READY_FD` (who started the daemon waits there) and
`GROUND_NOFILE` (how many descriptors a container may have open, where its spawner may have more).

The path of a unix socket has at most 107 bytes, so keep `run` short.
"""
_KINDS = """\
# Kinds

Every resource that the API server serves, with the verbs of upstream's Kubernetes 1.36. All of them are decoded,
completed with defaults, stored, printed as tables and watched. The last column says who acts on them; where it is
empty they are **only stored**. Which kinds have validation rules of their own: [kinds](../design/kinds.md).
Which fields of pods and Services have an effect: [fields](fields.md).

`*` stands for create, delete, deletecollection, get, list, patch, update, watch. A subresource in parentheses is
refused in one sentence.

| group and version | resource | kind | scope | verbs | subresources | who acts on it |
|---|---|---|---|---|---|---|
"""
_RUNTIME = """\
# `ground-runtime`

An OCI runtime with runc's command line; how it works is in [the design](../design/runtime.md), how it is held to runc
in [conformance](../quality/conformance.md). Exit codes: 0; the program's own for `run` and `exec` in the foreground,
128 and the signal's number where it was killed; 1 for an error, 255 for one of `exec`; 3 for an unknown verb. An error
is one line of the log, on standard error or where `--log` says, as text or as JSON."""
_DOCKER = """\
# The Docker Engine API

Served on `RUN/ground.sock` (`/run/groundplane/ground.sock`), with and without a version prefix: a docker CLI or SDK
works with `DOCKER_HOST=unix:///run/groundplane/ground.sock`. Errors are Docker's documents. Options of
`POST /containers/create` that are not offered are refused too, each in a sentence of its own
(`src/groundplane/dockerapi/create.py`).
"""


def main(arguments: list[str]) -> int:
    wrong = 0
    for name, text in pages().items():
        path = PAGES / name
        if "--check" in arguments:
            if not path.exists() or path.read_text() != text:
                print(f"{path}: not what the code says; run tools/generate_reference.py", file=sys.stderr)
                wrong = 1
        else:
            path.write_text(text)
    return wrong


def pages() -> dict[str, str]:
    """Every generated page by its name below docs/reference."""
    return {
        "cli.md": cli(),
        "settings.md": setting_page(),
        "kinds.md": kinds(),
        "docker-api.md": docker_api(),
        "runtime.md": runtime(),
    }


def cli() -> str:
    lines = _CLI.splitlines() + [""]
    commands = _commands()
    for group in dict.fromkeys(of for _, _, of in verbs.VERBS.values()):
        lines += [f"## {group}", ""]
        for verb, (_, summary, of) in verbs.VERBS.items():
            if of == group:
                lines += _verb(verb, summary, commands)
    return _HEAD + "\n".join(lines).rstrip() + "\n"


def _commands() -> dict[str, Command]:
    """Every command line of every module below groundplane.cli."""
    found: dict[str, Command] = {}
    for module in pkgutil.walk_packages(groundplane.cli.__path__, "groundplane.cli."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Command):
                found[value.name] = value
    return found


def _verb(verb: str, summary: str, commands: dict[str, Command]) -> Iterator[str]:
    yield from (f"### ground {verb}", "")
    own = commands.get(verb)
    below = [command for name, command in sorted(commands.items()) if name.startswith(f"{verb} ")]
    if own is None:
        yield from (f"{summary}.", "")
    if verb == "kube":
        yield from (f"- `{name}`: {what}" for name, (_, what) in KUBE_VERBS.items())
        yield ""
    for command in ([own] if own is not None else []) + below:
        yield from (f"#### ground {command.name}", "") if command is not own else ()
        yield from ("```", *_usage(command).splitlines(), "```", "")


def _usage(command: Command) -> str:
    return command.help_text().strip("\n").replace("Usage:  ", "")


def setting_page() -> str:
    lines = _SETTINGS.splitlines()
    comments = dict(re.findall(r"^    (\w+): \w+ = .*?  # (.*)$", inspect.getsource(settings.Settings), re.MULTILINE))
    for field in fields(settings.Settings):
        default = f"`{field.default}`" if field.default != "" else ""
        what = comments.get(field.name, "").removeprefix("default: ") if not default else comments.get(field.name, "")
        lines.append(f"| `{field.name}` | `GROUND_{field.name.upper()}` | {default} | {what} |")
    lines += _SETTINGS_END.splitlines()
    return _HEAD + "\n".join(lines) + "\n"


def kinds() -> str:
    lines = _KINDS.splitlines()
    lines += [_kind(resource) for resource in resources()]
    return _HEAD + "\n".join(lines) + "\n"


def _kind(resource: Resource) -> str:
    every = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    verb_words = "*" if set(resource.verbs) == every else ", ".join(sorted(resource.verbs))
    name = f"`{resource.plural}`" + "".join(f" `{short}`" for short in resource.short_names)
    below = [f"({s})" if ("", s) in REFUSED_SUBRESOURCES else s for s in sorted(resource.subresources)]
    scope = "namespace" if resource.namespaced else "cluster"
    actor = ACTORS.get((resource.group, resource.plural), "")
    return (
        f"| {resource.api_version} | {name} | {resource.kind} | {scope} | {verb_words} | {', '.join(below)} | {actor} |"
    )


def docker_api() -> str:
    lines = [
        *_DOCKER.splitlines(),
        "",
        "## Offered",
        "",
        "| method | path |",
        "|---|---|",
        *(f"| {method} | `{_path(path)}` |" for method, path, _ in ROUTES if "/ground/" not in path),
        "",
        "## Our own",
        "",
        "| method | path |",
        "|---|---|",
        *(f"| {method} | `{path}` |" for method, path, _ in ROUTES if "/ground/" in path),
        *(f"| {route.method} | `{route.path}` |" for route in platform_routes(_nobody())),
        "",
        "## Refused, with status 501 and a sentence",
        "",
        "| method | path | answer |",
        "|---|---|---|",
        *(f"| {method} | `{_path(path)}` | {sentence} |" for method, path, sentence in REFUSED),
    ]
    return _HEAD + "\n".join(lines) + "\n"


def runtime() -> str:
    lines = [*_RUNTIME.splitlines(), "", "```", help.of_all().rstrip(), "```"]
    for name in VERBS:
        lines += ["", f"## {name}", "", "```", help.of_verb(name).rstrip(), "```"]
    return _HEAD + "\n".join(lines) + "\n"


def _path(pattern: str) -> str:
    return pattern.replace(":.+", "")


def _nobody() -> Any:
    """The routes are made of closures over a platform that is only looked at when they are called."""
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
