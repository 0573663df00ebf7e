"""A process that backs a store up again and again, or restores it once; says `begin` and `done`, and is killed.

python store_mover.py backup STORE DIRECTORY · store_mover.py restore STORE BACKUP
"""

from __future__ import annotations

import asyncio
import os
import sys

from groundplane.store import moves
from groundplane.store.registry import open_store


async def main(what: str, path: str, other: str) -> None:
    if what == "restore":
        os.write(1, b"begin\n")
        await moves.restore(other, f"sqlite:{path}", aside=True)
        os.write(1, b"done\n")
        return
    store = await open_store(f"sqlite:{path}")
    os.write(1, b"begin\n")
    for number in range(1000):
        await store.backup(f"{other}/b-{number}")
        os.write(1, b"done\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
