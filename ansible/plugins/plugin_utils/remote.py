"""A POSIX shell on the device, reached through whatever connection and become the task has.

Every command gets something on standard input: then Ansible asks for no terminal, so standard error stays apart
from standard output, and what is sent is neither in an argument list nor on the device's disk.
"""
from __future__ import annotations

import os
import posixpath
import shlex
import time
from typing import Any, NamedTuple

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils.patience import insist, watchful
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import host_of

# digest FILE writes the SHA-256, or - where nothing on the device can tell.
# take PART SEEK writes standard input into a file that is not finished, from a block of 64 KiB on. The place is given,
# not the end: what a session that was cut still has on its way goes to the same place, with the same content.
# there DEST SIZE SHA256 says whether the file is complete, for a last piece whose answer was lost.
# arrive PART DEST MODE SIZE SHA256 gives it its name: complete, checked and synced, or not at all.
SHELL = r'''
digest() {
  if command -v sha256sum; then sha256sum <"$1"
  elif command -v openssl; then openssl dgst -sha256 -r <"$1"
  else echo; echo -; fi | { read -r tool; read -r sum rest; echo "$sum"; }
}
take() {
  umask 077
  mkdir -p "${1%/*}/"
  dd of="$1" bs=65536 seek="$2" conv=notrunc || { [ $? -gt 128 ] || rm -f "$1"; exit 1; }
}
there() {
  [ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$2" ] && [ "$(digest "$1")" = "$3" ]
}
arrive() {
  if [ -d "$2" ]; then rm -f "$1"; echo "$2 is a directory" >&2; exit 1; fi
  size=$(wc -c <"$1")
  if [ "$size" -lt "$4" ]; then echo "$size of $4 bytes arrived" >&2; exit 94; fi
  sum=$(digest "$1")
  case $sum in "$5" | -) ;; *) rm -f "$1"; echo "it arrived damaged: SHA-256 $sum, expected $5" >&2; exit 95 ;; esac
  if [ "$(id -u)" = 0 ]; then chown 0:0 "$1"; fi
  chmod "$3" "$1"
  sync "$1" 2>/dev/null || sync
  mv -f "$1" "$2"
}
'''
SHORT, DAMAGED = 94, 95

# Files are sent in pieces of whole blocks, each a round trip: what a lost connection costs is one piece, and the
# controller holds one per device in memory.
BLOCK, PIECE = 64 << 10, 8 << 20
# Seconds between two words about a file on its way.
TELL = 10
PERMISSION_HINT = 'run it with become: true, or as root'


class Answer(NamedTuple):
    """What a command on the device left."""

    rc: int
    out: str
    err: str

    def tail(self, length: int = 2000) -> str:
        """Return the end of what it said, for an error message."""
        return ((self.err.strip() or self.out.strip())[-length:]) or 'it said nothing'


class Cargo:
    """A file of the controller on its way to the device."""

    def __init__(self, local: str, dest: str, mode: str, digest: str, rate: int = 0) -> None:
        self.local, self.dest, self.mode, self.digest, self.rate = local, dest, mode, digest, rate
        self.size = os.path.getsize(local)
        folder, name = posixpath.split(dest)
        # Its name tells what it is part of, so that a later run can go on, and what is left of another file is known.
        self.part = posixpath.join(folder, '.%s.%s.part' % (name, digest[:16]))

    def script(self, at: int, last: bool) -> str:
        """Return the script that takes a piece from standard input; the last one gives the file its name."""
        part, dest = shlex.quote(self.part), shlex.quote(self.dest)
        # Standard input has to be read to its end, or ssh may lose the answer over a broken pipe.
        script = "set -eu\ntrap 'cat >/dev/null' EXIT\n%s\n" % SHELL
        if at > 0:
            script += 'if [ ! -f %s ]; then there %s %d %s && exit 0; exit %d; fi\n' % (
                part, dest, self.size, self.digest, SHORT)
        script += 'take %s %d\n' % (part, at // BLOCK)
        if last:
            script += 'arrive %s %s %s %d %s\n' % (part, dest, self.mode, self.size, self.digest)
        return script


class Pace:
    """How fast a file goes: a limit that is kept, and a word now and then for who waits."""

    def __init__(self, host: str, cargo: Cargo) -> None:
        self._host, self._cargo = host, cargo
        self._began = self._told = time.monotonic()
        self._sent = 0

    def piece(self) -> int:
        """Return how much to send at once: with a limit, about what it allows in a second."""
        if self._cargo.rate <= 0:
            return PIECE
        return min(PIECE, max(BLOCK, (self._cargo.rate << 10) // BLOCK * BLOCK))

    def sent(self, at: int, count: int) -> None:
        """Take note of a piece that arrived; sleep if it came too soon."""
        self._sent += count
        now = time.monotonic()
        if self._cargo.rate > 0:
            time.sleep(max(0.0, self._sent / (self._cargo.rate << 10) - (now - self._began)))
        if now - self._told >= TELL:
            self._told = now
            Display().display('%s: %s is at %d %% of %d MiB, %.1f MiB/s' % (
                self._host, os.path.basename(self._cargo.dest), 100 * at // self._cargo.size, self._cargo.size >> 20,
                self._sent / 1048576 / max(now - self._began, 0.001)))


class Remote:
    """The device of one task. With patience, in seconds, a connection that is lost is made anew."""

    def __init__(self, action: ActionBase, patience: int = 0, task_vars: dict[str, Any] | None = None) -> None:
        self._action = action
        self._patience = patience
        self.host = host_of(action, task_vars or {})
        watchful(action._connection)

    def run(self, script: str, data: bytes = b'\n') -> Answer:
        """Run a shell script with data on its standard input, in one round trip. It has to be fit for being run again."""
        return insist(lambda: self.once(script, data), self._action._connection, self._patience, self.host)

    def once(self, script: str, data: bytes = b'\n') -> Answer:
        """Run a script, and leave it at that if the connection is lost. Bytes that are no text are kept (os.fsencode)."""
        done = self._action._low_level_execute_command(
            '/bin/sh -c ' + shlex.quote(script), in_data=data, encoding_errors='surrogateescape')
        return Answer(done['rc'], done['stdout'], done['stderr'])

    def place(self, cargo: Cargo, have: int = 0) -> None:
        """Copy a file to its final path on the device, atomically and checked; have bytes of it are there already."""
        for final in (False, True):
            rc = self._send(cargo, have)
            if rc == 0:
                return
            have = 0
            if final:
                raise AnsibleActionFail('copy %s to %s on the device: it arrived damaged twice' % (cargo.local, cargo.dest))

    def _send(self, cargo: Cargo, have: int) -> int:
        """Send from a whole block on, and give the file its name with the last piece; return DAMAGED if it is not ours."""
        pace = Pace(self.host, cargo)
        at = min(have, max(cargo.size - 1, 0)) // BLOCK * BLOCK
        with open(cargo.local, 'rb') as source:
            while True:
                source.seek(at)
                piece = source.read(pace.piece())
                last = at + len(piece) >= cargo.size
                done = self.run(cargo.script(at, last), piece)
                if done.rc == SHORT:
                    at = 0  # somebody else took what was there
                elif done.rc == DAMAGED:
                    return DAMAGED
                elif done.rc != 0:
                    hint = ' (%s)' % PERMISSION_HINT if 'ermission denied' in done.err else ''
                    raise AnsibleActionFail('copy %s to %s on the device: %s%s' % (cargo.local, cargo.dest, done.tail(), hint))
                elif last:
                    return 0
                else:
                    at += len(piece)
                    pace.sent(at, len(piece))
