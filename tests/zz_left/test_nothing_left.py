"""The last test of the suite: the host is as it was before the first one."""

from __future__ import annotations

from tests.real.host_state import left_since


def test_the_suite_left_nothing_on_the_host(host_before: set[str]) -> None:
    """Compared with the session's start, so that another Groundplane on this host does no harm."""
    assert left_since(host_before) == []
