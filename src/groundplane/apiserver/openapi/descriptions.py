"""What `kubectl explain` says of types and fields: from the PyPI package kubernetes-validate where installed.

The texts are upstream's and are not part of this project; without the package the documents simply have none.
"""

from __future__ import annotations

import glob
import importlib.util
import os
from typing import Any

from groundplane.base import jsonyaml

_PACKAGE, _LEVEL = "kubernetes_validate", "v1.36.*"


def load() -> dict[str, Any]:
    """OpenAPI definitions by full type name (`io.k8s.api.core.v1.Pod`), descriptions included, or nothing."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return {}
    pattern = os.path.join(os.path.dirname(spec.origin), "kubernetes-json-schema", f"{_LEVEL}-local")
    for directory in sorted(glob.glob(pattern)):
        with open(os.path.join(directory, "_definitions.json"), "rb") as file:
            found: dict[str, Any] = jsonyaml.loads(file.read()).get("definitions") or {}
            return found
    return {}
