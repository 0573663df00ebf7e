"""groundd: read settings, own the root, run the platform until told to stop.

Exit codes: 0 asked to stop (the spawner then ends too); anything else is a failure, after which the spawner starts
the next groundd.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from groundplane.base import log, settings
from groundplane.base.clock import SystemClock
from groundplane.base.errors import GroundError
from groundplane.daemon.instance import ROLES, Instance
from groundplane.daemon.ready import Ready

_log = log.Log("daemon")


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    gc.disable()  # until `settle`: what start-up makes is no garbage
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="groundd", description="The Groundplane daemon; usually started by `ground`.")
    parser.add_argument("--root", help="state directory (default: /var/lib/groundplane)")
    parser.add_argument("--run", help="directory of sockets and volatile state (default: /run/groundplane)")
    parser.add_argument("--roles", help=f"comma-separated, of {', '.join(ROLES)} (default: as `ground up` left them)")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    wish = parser.parse_args(argv)
    ready = Ready()
    try:
        given = settings.load(root=wish.root, run=wish.run, log_level=wish.log_level)
        log.configure(given.log_level)
        instance = Instance(given)
        instance.make_directories()
        instance.lock()
        instance.settings = instance.chosen_settings()
        roles = tuple(wish.roles.split(",")) if wish.roles else instance.roles()
        run_loop(_serve(instance, roles, ready))
    except GroundError as error:
        ready.error(str(error))
        print(f"groundd: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full or read-only disk, for one: whoever waits learns why
        ready.error(str(error))
        raise
    return 0


def settle() -> None:
    """Start-up is over: what it made stays, so the collector need not look at it again; from here on it looks rarely.

    Objects of the API are trees without cycles, which reference counts free; with the default threshold of 700 the
    collector walks each large list several times while orjson makes it (gc, "Garbage collector design").
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """asyncio.run, on uvloop where it is installed; files have the modes that we give, whatever the caller's umask."""
    os.umask(0o022)  # pods of any user read their ConfigMaps, and /etc/resolv.conf
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    uvloop.run(work)


async def _serve(instance: Instance, roles: Sequence[str], ready: Ready) -> None:
    from groundplane.daemon.platform import Platform  # late: a wrong command line should not cost 300 ms of imports

    platform = Platform(instance, SystemClock(), ready)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, platform.ended.set)
    await platform.start(roles)
    settle()
    await platform.ended.wait()
    _log.info("stopping")
    await platform.stop()


if __name__ == "__main__":
    main()
