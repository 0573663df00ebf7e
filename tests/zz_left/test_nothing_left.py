"""The last test of the suite: the host is as it was before the first one."""

from __future__ import annotations

import time

from tests.real.host_state import traces


def test_the_suite_left_nothing_on_the_host(host_before: set[str]) -> None:
    """Compared with the session's start, so that another Groundplane on this host does no harm."""
    deadline = time.monotonic() + 60
    while left := traces() - host_before:  # what has just been killed may take a moment to be gone
        assert time.monotonic() < deadline, "left on the host:\n" + "\n".join(sorted(left))
        time.sleep(0.05)  # between two looks, with a deadline
