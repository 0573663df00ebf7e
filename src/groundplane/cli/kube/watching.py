"""An object as it changes, for verbs that wait for something of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from groundplane.cli.kube.session import Session
from groundplane.client.contract import ApiError, ConnectionLost, Object
from groundplane.client.resources import Resource


async def states(
    session: Session, resource: Resource, name: str, namespace: str | None = None
) -> AsyncGenerator[Object | None, None]:
    """The object as it is now, then after each change; None once it is gone, and again whenever it is not there.

    `namespace` is the session's where it is not given. Never ends by itself: the caller has a deadline. Raises
    ApiError (not for 404, 410), ConnectionLost at the start.
    """
    client, scope = session.of(resource), session.scope(resource) if namespace is None else namespace
    first = True
    while True:
        try:
            # A list of one, because its resourceVersion is that of the moment, also when the object is not there.
            items, version = await client.list_all(scope, field_selector=f"metadata.name={name}")
            yield items[0] if items else None
            first = False
            changes = client.watch(scope, resource_version=version, field_selector=f"metadata.name={name}")
            async with aclosing(changes):
                async for event in changes:
                    if event.type in ("ADDED", "MODIFIED"):
                        yield event.object
                    elif event.type == "DELETED":
                        yield None
                    elif event.type == "ERROR":
                        break  # 410: too old; look again
        except ConnectionLost:
            if first:
                raise
        except ApiError as error:
            if not error.is_gone:
                raise
