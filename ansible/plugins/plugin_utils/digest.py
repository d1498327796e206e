"""SHA-256 of the controller's own files, each read once per run of ansible-playbook.

Ansible runs every task of every host in a process of its own, so a cache in memory would be lost at once. The
digests lie in the run's local temporary folder, which Ansible removes at its end.
"""
from __future__ import annotations

import fcntl
import hashlib
import os

from ansible import constants as C

BLOCK = 1 << 20


def sha256(path: str) -> str:
    """Return the hex digest of a file; fifty workers that ask at once make one of them read it."""
    with open(os.path.join(C.DEFAULT_LOCAL_TMP, 'balena-migrate-sha256-' + _identity(path)), 'a+') as cache:
        fcntl.flock(cache, fcntl.LOCK_EX)
        cache.seek(0)
        known = cache.read()
        if len(known) == 64:
            return known
        digest = of_file(path)
        cache.truncate(0)
        cache.write(digest)
        return digest


def _identity(path: str) -> str:
    seen = os.stat(path)
    text = '%s\0%d\0%d\0%d' % (os.path.realpath(path), seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:32]


def of_file(path: str) -> str:
    """Return the hex digest of a file as it is now."""
    digest = hashlib.sha256()
    with open(path, 'rb') as source:
        for block in iter(lambda: source.read(BLOCK), b''):
            digest.update(block)
    return digest.hexdigest()
