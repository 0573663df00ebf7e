"""`ground kube`: a small client of the cluster in kubectl's words, over server-side apply and server-side printing.

For machines without a kubectl; with one, `export KUBECONFIG=$(ground kubeconfig)` is all it needs. What is not offered
here is refused in one sentence that says so.
"""

from __future__ import annotations

import sys

from groundplane.base.errors import UsageError
from groundplane.cli.place import Place

VERBS: dict[str, tuple[str, str]] = {
    "get": ("get", "Show objects: as a table, wide, name, json, yaml or jsonpath"),
    "apply": ("apply", "Create or change objects from files, by server-side apply"),
    "delete": ("delete", "Delete objects, and wait until they are gone"),
    "logs": ("logs", "Print the log of a pod's container"),
    "exec": ("exec", "Run a command in a pod's container"),
    "wait": ("wait", "Wait for a condition of objects, or for their deletion"),
    "scale": ("scale", "Set the number of replicas"),
    "set": ("set_image", "Set the image of a workload's containers: set image TYPE/NAME CONTAINER=IMAGE…"),
    "rollout": ("rollout", "Watch, list, undo, restart, pause or resume a Deployment's rollout"),
}


def verb_first(args: list[str]) -> list[str]:
    """kubectl's namespace may stand before the verb: `-n shop get pods` is `get -n shop pods`."""
    count = 2 if args[0] in ("-n", "--namespace") else 1 if args[0].startswith(("-n", "--namespace=")) else 0
    return [args[count], *args[:count], *args[count + 1 :]] if 0 < count < len(args) else args


def run(args: list[str], place: Place) -> int:
    """Find the verb's module and run it."""
    if not args or args[0] in ("--help", "-h"):
        width = max(map(len, VERBS)) + 2
        lines = ["Usage:  ground kube COMMAND", "", "Work with the cluster, in kubectl's words.", "", "Commands:"]
        lines += [f"  {name:<{width}}{summary}" for name, (_, summary) in VERBS.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    args = verb_first(args)
    if args[0] not in VERBS:
        raise UsageError(
            f"ground kube: '{args[0]}' is not offered; offered are {', '.join(VERBS)}."
            " A kubectl does everything: export KUBECONFIG=$(ground kubeconfig)"
        )
    import importlib

    module = importlib.import_module(f"groundplane.cli.kube.{VERBS[args[0]][0]}")
    try:
        code: int = module.run(args[1:], place)
    except UsageError as error:
        error.exit_code = 1  # kubectl's for wrong words as for everything else
        raise
    return code
