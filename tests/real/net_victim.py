"""A process that attaches and detaches a pod and kills itself with SIGKILL before its Nth word to the kernel.

python net_victim.py ROOT NETNS N
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from groundplane.engine.networks.pods import PodNetwork
from groundplane.kernel.netlink.channel import Channel


async def main(root: str, netns: str, last: int) -> None:
    said = 0
    send = Channel._send

    def counting(channel: Channel, data: bytes) -> None:
        nonlocal said
        said += 1
        if said == last:
            os.kill(os.getpid(), signal.SIGKILL)
        send(channel, data)

    Channel._send = counting  # type: ignore[method-assign]
    network = PodNetwork(root, "abc123")
    await network.configure("10.244.0.0/24", "10.1.0.1", "10.244.0.0/16")
    await network.attach(netns, "a" * 64)
    await network.detach("a" * 64)
    await network.attach(netns, "b" * 64)
    await network.teardown()
    await network.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
