"""A small web service: a page with its version, its pod and a counter that all pods share.

GET /         the page; each request adds one to the counter, under a lock, in the file that all pods mount
GET /healthz  200 while the service takes requests
SIGTERM       answer everybody who has connected, then end
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "unknown")
GREETING = os.environ.get("GREETING", "Hello")
POD = os.environ.get("POD_NAME", os.uname().nodename)
COUNTER = os.environ.get("COUNTER_FILE", "/data/counter")


def count() -> int:
    """Add one to the shared counter; its new value."""
    with open(os.open(COUNTER, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        value = int(file.read() or 0) + 1
        file.seek(0)
        file.write(str(value))
        file.truncate()
    return value


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer("ok\n")
        else:
            self._answer(f"{GREETING} from {POD}, version {VERSION}, request number {count()}\n")

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        if self.path != "/healthz":
            super().log_message(format, *args)


def main() -> None:
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Page)
    server.daemon_threads = False  # threads that still answer are waited for
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{POD} serves version {VERSION}", flush=True)
    server.serve_forever(poll_interval=0.05)
    while select.select([server], [], [], 0)[0]:  # whoever had connected when the signal came is answered, too
        server.handle_request()
    server.server_close()


if __name__ == "__main__":
    main()
