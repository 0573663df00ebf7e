"""In which order the content of a namespace goes. Pure. pkg/controller/namespace/deletion, KEP-5080 (pods first)."""

from __future__ import annotations

from collections.abc import Iterable

from groundplane.client.resources import PODS, Resource


def order(resources: Iterable[Resource]) -> list[list[Resource]]:
    """Waves: each is deleted only once nothing of the wave before is left. One version of each resource is enough.

    Pods go first, so that nothing that protects or serves them (a NetworkPolicy, a Secret) goes while they still run.
    events.k8s.io shows the core events once more.
    """
    once = {(each.group, each.plural): each for each in reversed(list(resources)) if each.group != "events.k8s.io"}
    namespaced = [each for each in once.values() if each.namespaced]
    pods = [each for each in namespaced if (each.group, each.plural) == (PODS.group, PODS.plural)]
    others = sorted((each for each in namespaced if each not in pods), key=lambda each: (each.group, each.plural))
    return [wave for wave in (pods, others) if wave]
