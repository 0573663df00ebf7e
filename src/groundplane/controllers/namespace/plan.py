"""In which order the content of a namespace goes. Pure. pkg/controller/namespace/deletion, KEP-5080 (pods first)."""

from __future__ import annotations

from collections.abc import Iterable

from groundplane.client.resources import PODS, Resource


def order(resources: Iterable[Resource]) -> list[list[Resource]]:
    """Waves: each is deleted only once nothing of the wave before is left.

    Pods go first, so that nothing that protects or serves them (a NetworkPolicy, a Secret) goes while they still run.
    """
    namespaced = [each for each in resources if each.namespaced and each.plural != "events"]
    pods = [each for each in namespaced if (each.group, each.plural) == (PODS.group, PODS.plural)]
    others = sorted((each for each in namespaced if each not in pods), key=lambda each: (each.group, each.plural))
    return [wave for wave in (pods, others) if wave]
