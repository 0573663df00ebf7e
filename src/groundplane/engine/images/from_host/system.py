"""What every image from this host has beside its programs: users, name service, certificates, the usual directories."""

from __future__ import annotations

import os

from groundplane.engine.images.from_host.tree import Tree

_DIRECTORIES = {
    **dict.fromkeys(("/dev", "/etc", "/proc", "/run", "/sys", "/usr", "/usr/bin", "/usr/sbin", "/var"), 0o755),
    "/root": 0o700,
    "/tmp": 0o1777,
    "/var/tmp": 0o1777,
}
_FILES = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
# Links of a merged /usr: without them `#!/bin/sh` and the linker's own path lead nowhere.
_MERGED = ("/bin", "/sbin", "/lib", "/lib64")
# Where distributions keep trusted certificates and OpenSSL's settings (OPENSSLDIR); each is taken where it exists.
_TRUST = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/usr/lib/ssl/cert.pem",
    "/usr/lib/ssl/openssl.cnf",
    "/usr/lib/ssl/certs",
)


def add_system(tree: Tree) -> None:
    """Put it into the base tree; first, so that the host's links are there before anything leads through them."""
    for path in _MERGED:
        if os.path.islink(path):
            tree.add_host(path)
    for path in ("/etc/os-release", *_TRUST):
        if os.path.exists(path) and os.access(path, os.R_OK):
            tree.add_host(path)
    for path, data in _FILES.items():
        tree.content(path, data)
    for path, mode in _DIRECTORIES.items():
        tree.directory(path, mode)
