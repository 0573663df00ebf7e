"""Stands for groundd in tests of the spawner: writes its pid, greets the spawner, and ends as it is told.

    resident_daemon.py RUN_DIR [early]

`early` ends with code 7 before the greeting. SIGTERM ends it with code 0.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from groundplane.wire.spawner import VERSION, Hello, encode


def main(run_dir: str, how: str = "") -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(f"{run_dir}/lives", "a") as f:
        f.write(f"{os.getpid()} {os.environ.get('GROUND_READY_FD', '')}\n")
    if how == "early":
        sys.exit(7)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(f"{run_dir}/spawner.sock")
    sock.send(encode(Hello(VERSION, os.getpid())))
    sock.recv(1000)
    if ready := os.environ.get("GROUND_READY_FD"):
        try:
            os.write(int(ready), b"ready")
        except OSError:  # inherited only by the first one
            pass
    while True:
        signal.pause()


main(*sys.argv[1:])
