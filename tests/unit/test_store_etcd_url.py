"""What an etcd URL says, and what it may not say."""

from __future__ import annotations

import pytest

from groundplane.base.errors import UsageError
from groundplane.store.drivers.etcd.messages import Keys
from groundplane.store.drivers.etcd.url import Target, parse


def test_hosts_prefix_and_files() -> None:
    assert parse("etcd://a") == Target(("http://a:2379",))
    assert parse("etcd://a:1,[::1],b/p/q/") == Target(("http://a:1", "http://[::1]:2379", "http://b:2379"), "/p/q")
    found = parse("etcd://a/?cafile=/ca&certfile=/c&keyfile=/k&user=u&passwordfile=/p&timeout=1.5")
    assert found == Target(("https://a:2379",), "", "/ca", "/c", "/k", "u", "/p", 1.5)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("etcd:", "expected"),
        ("etcd:///prefix", "expected"),
        ("etcd://user:secret@a", "passwordfile=FILE"),
        ("etcd://a?password=secret", "unknown option 'password'"),
        ("etcd://a?cafile=/ca&certfile=/c", "certfile needs keyfile"),
        ("etcd://a?keyfile=/c", "keyfile needs certfile"),
        ("etcd://a?user=u", "user needs passwordfile"),
        ("etcd://a?passwordfile=/p", "needs user"),
        ("etcd://a?certfile=/c&keyfile=/k", "needs cafile"),
        ("etcd://a?timeout=soon", "a number of seconds"),
        ("etcd://a?timeout=0", "a number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence_without_the_secret(url: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_keys_of_its_own_are_nobody_elses() -> None:
    keys = Keys("/one")
    for key in ("", "registry", "/!ground/sync", "/!ground/mark", "/ "):
        with pytest.raises(Exception, match="keys begin with"):
            keys.key(key)
    assert keys.key("/registry/a")
