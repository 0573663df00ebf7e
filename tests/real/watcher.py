"""Names every effectful system call of an instance's processes, or kills one of them right before a chosen one.

    python -m tests.real.watcher '{"root": …, "run": …, "pids": {"groundd": [PID], …}, "kills": [{…}, …]}'

Says `ready` when it watches. With `kills` ({"role", "call", "nth", "victim"}, where `C*` is any container) it watches
only the first one's role, kills one after the other, each counted from the one before, and ends after the last, saying
`killed`. Without, it ends with its input, and says what it saw that did not fail, as a JSON list: role, call, its
number among those alike, and whether a supervisor was there.

It is a process of its own because a tracer waits for all its children, and because what it watches goes on undisturbed
when it ends.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from collections import Counter
from typing import Any

from tests.real.effects import Effects
from tests.real.ptrace import FAMILY, THREADS, Thread, Tracer
from tests.real.resident_processes import children, is_supervisor, lives

from groundplane.kernel.calls.process import pidfd_open

_CHILDREN = {"spawner": "agent", "zygote": "supervisor", "supervisor": "launcher", "launcher": "init"}
_ANY = re.compile(r"\bC\d+")
_WATCHED = {"groundd": ("groundd",), "spawner": ("spawner",), "agent": ("spawner",)}  # others: the zygote's family


class Watcher:
    """One recording, or one kill."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._effects = Effects(order["root"], order["run"])
        self._numbers = self._effects.numbers
        self._kills: list[dict[str, Any]] = order["kills"]
        self._records = not self._kills  # to be told, not to be struck
        self._pids: dict[str, list[int]] = order["pids"]
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seen: dict[int, tuple[str, str, int, bool]] = {}  # in order
        self._calling: dict[int, int] = {}  # thread → what it is about to do
        self.killed = False
        let_go = frozenset({"init", "agent"})
        self.tracer = Tracer(self._on_call, self._on_return, lambda role: _CHILDREN.get(role, role), let_go)
        role = self._kills[0]["role"] if self._kills else ""
        watched = tuple(self._pids) if self._records else _WATCHED.get(role, ("zygote", "supervisor"))
        for role in watched:
            for pid in self._pids.get(role, ()):
                self.tracer.attach(pid, role, THREADS if role == "groundd" else FAMILY)

    def _on_call(self, thread: Thread, number: int, arguments: tuple[int, ...]) -> None:
        if number not in self._numbers:
            return
        if not (call := self._effects.name(thread.tid, thread.pid, number, arguments)):
            return
        if self._records:
            nth = self._count(thread.role, call)
            self._calling[thread.tid] = at = self._counts.total()
            supervised = any(t.role == "supervisor" for t in self.tracer.threads.values())
            self._seen[at] = (thread.role, call, nth, supervised)
        elif self._kills:
            kill = self._kills[0]
            wanted = _ANY.sub("C*", call) if "C*" in kill["call"] else call
            is_it = (thread.role, wanted) == (kill["role"], kill["call"])
            if is_it and self._count(thread.role, wanted) == kill["nth"]:
                self._strike(self._kills.pop(0)["victim"], thread)

    def _count(self, role: str, call: str) -> int:
        self._counts[role, call] += 1
        return self._counts[role, call]

    def _on_return(self, thread: Thread, failed: bool) -> None:
        """What failed has changed nothing, so it is no boundary."""
        at = self._calling.pop(thread.tid, 0)
        if failed:
            self._seen.pop(at, None)

    @property
    def seen(self) -> list[tuple[str, str, int, bool]]:
        return list(self._seen.values())

    def _strike(self, victim: str, thread: Thread) -> None:
        """Whoever stands at the call goes on only after the victim is gone."""
        self._counts.clear()
        for pid in self._victims(victim, thread)[:1]:
            end = pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            while pid != thread.pid and not select.select([end], [], [], 0.0005)[0]:
                self.tracer.turn()  # a tracer reaps its tracees
            os.close(end)
        self.killed = not self._kills

    def _victims(self, victim: str, thread: Thread) -> list[int]:
        """The one that concerns the thread, before others of its role; of those not watched, the newest."""
        if thread.role == victim:
            return [thread.pid]
        found = {t.pid for t in self.tracer.threads.values() if t.role == victim}
        found |= {pid for pid in self._pids.get(victim, ()) if lives(pid)}
        if victim == "supervisor":
            found |= {child for pid in self._pids.get("zygote", ()) for child in children(pid)}
            found = {pid for pid in found if is_supervisor(pid)}
        return sorted(found, key=lambda pid: (pid != self._forefather(thread, victim), -pid))

    def _forefather(self, thread: Thread, role: str) -> int:
        known = {t.pid: t for t in self.tracer.threads.values()}
        at: Thread | None = thread
        while at is not None and at.role != role:
            at = known.get(at.parent)
        return at.pid if at is not None else 0

    def watch(self) -> None:
        waker, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        print("ready", flush=True)
        while not self.killed:
            readable, _, _ = select.select([0, waker], [], [], 0.02)
            if waker in readable:
                os.read(waker, 4096)
            for _ in range(1000):  # then see to the input again
                if self.killed or not self.tracer.turn():
                    break
            if 0 in readable and not os.read(0, 1):
                break


def main() -> None:
    watcher = Watcher(json.loads(sys.argv[1]))
    watcher.watch()
    print("killed" if watcher.killed else json.dumps(watcher.seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
