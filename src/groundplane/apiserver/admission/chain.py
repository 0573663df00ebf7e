"""The plug-ins in their order, and the short list of them that a resource's operation has to pass."""

from __future__ import annotations

from dataclasses import replace

from groundplane.apiserver.admission.contract import Attempt, Operation, Plugin
from groundplane.apiserver.cache.stored import Object


class Chain:
    """An ordered list of plug-ins; which of them one (operation, resource) concerns is found out once."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = plugins
        self._concerned: dict[tuple[Operation, str, str, str], list[Plugin]] = {}

    def _for(self, attempt: Attempt) -> list[Plugin]:
        key = (attempt.operation, attempt.group, attempt.resource, attempt.subresource)
        if (found := self._concerned.get(key)) is None:
            found = [p for p in self._plugins if p.handles(*key)]
            self._concerned[key] = found
        return found

    async def mutate(self, attempt: Attempt) -> Object:
        """The object after all plug-ins. Raises StatusError."""
        obj = attempt.obj
        assert obj is not None
        for plugin in self._for(attempt):
            changed = await plugin.mutate(attempt, obj)
            if changed is not obj:
                obj = changed
                attempt = replace(attempt, obj=obj)
        return obj

    async def validate(self, attempt: Attempt) -> None:
        for plugin in self._for(attempt):
            await plugin.validate(attempt, attempt.obj)
