"""Who owns whom. Pure: fed by events, answers with keys to look at. pkg/controller/garbagecollector/graph_builder.go.

A *node* is an object by uid. An owner that is named but was never seen is *virtual*: it may be gone, or of a resource
that is not watched, or younger than our caches; the loop asks the server before it believes that it is gone.

    deletion of an object     its dependents are looked at; owners that wait for it are looked at
    foregroundDeletion        the object waits until no dependent blocks it; its dependents are looked at
    orphan                    the dependents lose the reference before the object goes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from groundplane.client.contract import Object
from groundplane.client.objects import Key, is_deleting, key_of, uid_of, version_of
from groundplane.client.resources import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

Look = tuple[str, str]
"""("delete" | "orphan", uid): what the loop has to look at."""


@dataclass(slots=True, eq=False)
class Node:
    """One object, reduced to what ownership needs."""

    uid: str
    resource: Resource | None = None  # None: virtual and of an unknown resource
    key: Key = ("", "")
    version: str = ""
    owners: dict[str, Object] = field(default_factory=dict)  # references by uid
    dependents: dict[str, Node] = field(default_factory=dict)
    finalizers: frozenset[str] = frozenset()
    deleting: bool = False
    seen: bool = False  # an informer has shown it

    @property
    def waits_for_dependents(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def is_orphaning(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers

    def blocking(self) -> list[Node]:
        """Dependents that keep this node from going in the foreground."""
        return [each for each in self.dependents.values() if each.owners[self.uid].get("blockOwnerDeletion")]


class Graph:
    """All nodes of the cluster."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def put(self, resource: Resource, obj: Object) -> list[Look]:
        """An object was added or changed."""
        uid = uid_of(obj)
        node = self.nodes.get(uid)
        if node is None:
            node = self.nodes[uid] = Node(uid)
        was_waiting, was_orphaning = node.waits_for_dependents, node.is_orphaning
        before = node.owners
        meta = obj["metadata"]
        node.resource, node.key, node.version, node.seen = resource, key_of(obj), version_of(obj), True
        node.finalizers = frozenset(meta.get("finalizers") or ())
        node.deleting = is_deleting(obj)
        node.owners = {ref["uid"]: ref for ref in meta.get("ownerReferences") or () if ref.get("uid")}
        looks = self._relink(node, before)
        if node.owners and node.owners.keys() != before.keys():
            looks.append(("delete", uid))
        if node.is_orphaning and not was_orphaning:
            looks.append(("orphan", uid))
        if node.waits_for_dependents and not was_waiting:
            looks += [("delete", each) for each in node.dependents]
            looks.append(("delete", uid))
        return looks

    def remove(self, uid: str) -> list[Look]:
        """An object is gone: its dependents may have to follow, its owners may have waited for it."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return []
        looks: list[Look] = [("delete", each) for each in node.dependents]
        if node.dependents:  # still named as an owner: keep the edges, but as an owner that is gone
            ghost = self.nodes[uid] = Node(uid, dependents=node.dependents)
            ghost.resource, ghost.key = node.resource, node.key
        for owner_uid in node.owners:
            if (owner := self.nodes.get(owner_uid)) is None:
                continue
            self._unlink(owner, uid)
            if owner.waits_for_dependents:
                looks.append(("delete", owner_uid))
        return looks

    def _relink(self, node: Node, before: Mapping[str, Object]) -> list[Look]:
        looks: list[Look] = []
        for uid in node.owners.keys() - before.keys():
            owner = self.nodes.get(uid)
            if owner is None:
                owner = self.nodes[uid] = Node(uid)
            owner.dependents[node.uid] = node
        for uid, old in before.items():
            new = node.owners.get(uid)
            owner = self.nodes.get(uid)
            if owner is None:
                continue
            unblocked = old.get("blockOwnerDeletion") and not (new and new.get("blockOwnerDeletion"))
            if new is None:
                self._unlink(owner, node.uid)
            if unblocked and owner.waits_for_dependents:
                looks.append(("delete", uid))
        return looks

    def _unlink(self, owner: Node, uid: str) -> None:
        owner.dependents.pop(uid, None)
        if not owner.seen and not owner.dependents:  # nobody names it any more
            self.nodes.pop(owner.uid, None)


@dataclass(frozen=True, slots=True)
class Owners:
    """What became of the owners that an object names."""

    solid: list[Object]
    gone: list[Object]
    waiting: list[Object]  # being deleted in the foreground


@dataclass(frozen=True, slots=True)
class Verdict:
    """`delete` with this propagation policy, or `drop` these references; `unblock`: stop blocking the owners first."""

    delete: str = ""
    drop: list[str] = field(default_factory=list)
    unblock: bool = False


def judge(node: Node, owners: Owners) -> Verdict:
    """garbagecollector.go attemptToDeleteItem, for a node that names owners."""
    if owners.solid:
        return Verdict(drop=[ref["uid"] for ref in (*owners.gone, *owners.waiting)])
    if owners.waiting and node.dependents:
        # Objects that own each other and wait for each other in the foreground would never go: this one stops blocking.
        circle = any(each.waits_for_dependents for each in node.dependents.values())
        blocks = any(ref.get("blockOwnerDeletion") for ref in node.owners.values())
        return Verdict(delete="Foreground", unblock=circle and blocks)
    if ORPHAN in node.finalizers:
        return Verdict(delete="Orphan")
    if FOREGROUND in node.finalizers:
        return Verdict(delete="Foreground")
    return Verdict(delete="Background")
