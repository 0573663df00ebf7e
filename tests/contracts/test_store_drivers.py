"""All drivers of the store against the one suite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.contracts.store_suite import CASES
from tests.fakes import etcd

from groundplane.store.registry import open_store


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("url", ["memory:", "sqlite:{root}/store/data.db"])
def test_store(url: str, case: str, state_root: Path) -> None:
    async def scenario() -> None:
        store = await open_store(url.format(root=state_root))
        try:
            async with asyncio.timeout(120):
                await CASES[case](store)
        finally:
            await store.close()

    asyncio.run(scenario())


@pytest.mark.needs("etcd")
@pytest.mark.parametrize("case", CASES)
def test_store_on_etcd(case: str, state_root: Path) -> None:
    """An etcd for each case: one's compactions would be another's missing history."""
    with etcd.cluster(state_root) as server:
        test_store(server.url(), case, state_root)
