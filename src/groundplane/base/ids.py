"""Identifiers: 64-hex container and image ids, UUIDs, random name suffixes, and an instance's own short hash."""

from __future__ import annotations

import os

# k8s.io/apimachinery/pkg/util/rand: no vowels and no 0, 1, 3, so that no word is spelt by chance.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def hex_id() -> str:
    """64 hex digits from the kernel's generator: a container's or network's id."""
    return os.urandom(32).hex()


def uuid4() -> str:
    """A random UUID in its canonical form (RFC 9562, version 4), without importing `uuid`."""
    b = bytearray(os.urandom(16))
    b[6] = b[6] & 0x0F | 0x40
    b[8] = b[8] & 0x3F | 0x80
    h = b.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def name_suffix(length: int = 5) -> str:
    """The random tail of a generated name, from upstream's safe alphabet."""
    return "".join(_SUFFIX_ALPHABET[b % len(_SUFFIX_ALPHABET)] for b in os.urandom(length))


def instance_hash(root: str) -> str:
    """6 hex digits of a state root's real path: in the name of each link, table and cgroup of that instance."""
    import hashlib  # late: 1 ms that `ground version` does not need

    return hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:6]
