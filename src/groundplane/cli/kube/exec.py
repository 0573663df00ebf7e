"""`ground kube exec`: a command in a pod's container, its streams here, its exit code ours."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

from groundplane.base.errors import UsageError
from groundplane.cli.kube.pods import container_of, pod_of
from groundplane.cli.kube.session import NAMESPACE, KubeError, Session, run_session
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.cli.streams import RawTerminal, write_all
from groundplane.client.contract import ConnectionLost
from groundplane.client.resources import PODS
from groundplane.client.streams import ChannelStreams

_CHUNK = 32768
COMMAND = Command(
    "kube exec",
    "(POD | TYPE/NAME) [OPTIONS] -- COMMAND [ARG…]",
    "Run a command in a pod's container.",
    (
        *NAMESPACE,
        text("container", "c", "name", "The container (the only, the annotated, or the first one)"),
        flag("stdin", "i", "Pass our standard input on"),
        flag("tty", "t", "With a terminal"),
    ),
    minimum=1,
    maximum=1,
)


def run(args: list[str], place: Place) -> int:
    own, command = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    if not command and "--help" not in own and "-h" not in own:
        raise UsageError("error: you must specify at least one command for the container: exec POD -- COMMAND")
    parsed = COMMAND.parse(own)
    if parsed is None:
        return 0
    stdin = parsed.on("stdin")
    tty = parsed.on("tty") and stdin
    if tty and not sys.stdin.isatty():
        sys.stderr.write("Unable to use a TTY - input is not a terminal or the right kind of file\n")
        tty = False

    async def work(session: Session) -> int:
        pod = await pod_of(session, parsed.words[0])
        name, phase = pod["metadata"]["name"], (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise KubeError(f"error: cannot exec into a container in a completed pod; current phase is {phase}")
        flags = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
        params = [("command", word) for word in command] + [(key, "true") for key, on in flags.items() if on]
        params.append(("container", container_of(pod, parsed.text("container"))))
        streams = await session.transport.channels(PODS.path(session.namespace, name, "exec"), params)
        try:
            with RawTerminal(on=tty):
                return await _attached(streams, stdin=stdin, tty=tty)
        finally:
            await streams.close()

    return run_session(place, parsed, work)


async def _attached(streams: ChannelStreams, *, stdin: bool, tty: bool) -> int:
    """Pump until the command has ended; its exit code. Raises KubeError where it could not be run."""
    loop = asyncio.get_running_loop()
    sizes: set[asyncio.Task[None]] = set()
    if tty:

        def tell_size() -> None:
            columns, rows = os.get_terminal_size(0)
            task = loop.create_task(streams.resize(rows, columns))
            sizes.add(task)
            task.add_done_callback(sizes.discard)

        loop.add_signal_handler(signal.SIGWINCH, tell_size)
        tell_size()
    if stdin:
        # A thread, because epoll(7) refuses regular files; a daemon, because read(2) may never return.
        threading.Thread(target=_read_input, args=(streams, loop), daemon=True).start()
    while (piece := await streams.read()) is not None:
        write_all(*piece)
    code = await streams.wait()
    if streams.failure:
        raise KubeError(f"error: {streams.failure}")
    if code:
        sys.stderr.write(f"command terminated with exit code {code}{chr(13) if tty else ''}\n")
    return code


def _read_input(streams: ChannelStreams, loop: asyncio.AbstractEventLoop) -> None:
    """Our standard input to the command's, one piece at a time, then its end."""
    try:
        while data := os.read(0, _CHUNK):
            asyncio.run_coroutine_threadsafe(streams.write(data), loop).result()
        asyncio.run_coroutine_threadsafe(streams.close_stdin(), loop).result()
    except (OSError, ConnectionLost, RuntimeError, asyncio.CancelledError):
        pass  # our input is closed, the command has ended, or the loop has
