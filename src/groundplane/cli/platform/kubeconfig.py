"""`ground kubeconfig`: the path of the administrator's kubeconfig, for `export KUBECONFIG=$(ground kubeconfig)`."""

from __future__ import annotations

import os
import sys

from groundplane.base.errors import NotFoundError
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place

COMMAND = Command(
    "kubeconfig",
    "[OPTIONS]",
    "Print the path of the cluster's kubeconfig.",
    (flag("raw", "", "Print the file's content instead"),),
    maximum=0,
)


def path(place: Place) -> str:
    """Where the kubeconfig is. Raises NotFoundError where there is no cluster."""
    found = os.path.join(place.settings().root, "admin.kubeconfig")
    if not os.path.exists(found):
        raise NotFoundError(f"there is no cluster here yet ({found} does not exist); run `ground up`")
    return found


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    found = path(place)
    if parsed.on("raw"):
        with open(found) as file:
            sys.stdout.write(file.read())
    else:
        sys.stdout.write(found + "\n")
    return 0
