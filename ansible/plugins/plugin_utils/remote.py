"""A POSIX shell on the device, reached through whatever connection and become the task has.

Every command gets something on standard input: then Ansible asks for no terminal, so standard error stays apart
from standard output, and what is sent is neither in an argument list nor on the device's disk.
"""
from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# digest FILE writes the SHA-256, or - where nothing on the device can tell.
# arrive STAGED DEST MODE SIZE SHA256 moves an uploaded file to its place: complete, synced and under its name, or
# not at all. It moves rather than copies, so that a large file needs its space once.
SHELL = r'''
digest() {
  if command -v sha256sum; then sha256sum <"$1"
  elif command -v openssl; then openssl dgst -sha256 -r <"$1"
  else echo; echo -; fi | { read -r tool; read -r sum rest; echo "$sum"; }
}
arrive() {
  if [ -d "$2" ]; then echo "$2 is a directory" >&2; exit 1; fi
  umask 077
  mkdir -p "${2%/*}/"
  new=${2%/*}/.${2##*/}.new.$$
  trap 'rm -f "$new"' EXIT
  trap 'exit 1' HUP INT TERM
  mv -f "$1" "$new"
  size=$(wc -c <"$new")
  if [ "$size" -ne "$4" ]; then echo "$size of $4 bytes arrived" >&2; exit 1; fi
  sum=$(digest "$new")
  case $sum in "$5" | -) ;; *) echo "it arrived damaged: SHA-256 $sum, expected $5" >&2; exit 1 ;; esac
  if [ "$(id -u)" = 0 ]; then chown 0:0 "$new"; fi
  chmod "$3" "$new"
  sync "$new" 2>/dev/null || sync
  mv -f "$new" "$2"
}
'''

PERMISSION_HINT = 'run it with become: true, or as root'


class Answer(NamedTuple):
    """What a command on the device left."""

    rc: int
    out: str
    err: str

    def tail(self, length: int = 2000) -> str:
        """Return the end of what it said, for an error message."""
        return ((self.err.strip() or self.out.strip())[-length:]) or 'it said nothing'


class Remote:
    """The device of one task. Close it to remove what was staged there."""

    def __init__(self, action: ActionBase) -> None:
        self._action = action

    def run(self, script: str, data: bytes = b'\n') -> Answer:
        """Run a shell script with data on its standard input, in one round trip."""
        done = self._action._low_level_execute_command('/bin/sh -c ' + shlex.quote(script), in_data=data)
        return Answer(done['rc'], done['stdout'], done['stderr'])

    def upload(self, local: str) -> str:
        """Copy a file into a private folder of the login user, and return its path there."""
        shell = self._action._connection._shell
        folder = shell.tmpdir or self._action._make_tmp_path()
        staged = shell.join_path(folder, 'upload')
        self._action._transfer_file(local, staged)
        return staged

    def place(self, local: str, dest: str, mode: str, digest: str) -> None:
        """Copy a file to its final path on the device, atomically and checked."""
        words = [self.upload(local), dest, mode, str(os.path.getsize(local)), digest]
        done = self.run('set -eu\n%s\narrive %s' % (SHELL, ' '.join(map(shlex.quote, words))))
        if done.rc != 0:
            hint = ' (%s)' % PERMISSION_HINT if 'ermission denied' in done.err else ''
            raise AnsibleActionFail('copy %s to %s on the device: %s%s' % (local, dest, done.tail(), hint))

    def close(self) -> None:
        """Remove the staging folder, if one was needed."""
        folder = self._action._connection._shell.tmpdir
        if folder:
            self._action._remove_tmp_path(folder)
