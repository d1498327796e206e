"""Copies a file of the controller to a device that needs no Python, and only where it differs.

A file that is there already costs one round trip, a small one two. A large one goes in pieces and goes on where a lost
connection, or another run, stopped; it is never read into memory, and gets its name complete and checked.
"""
from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import PATIENCE, RESULTS
from ansible_collections.balena_community.migrate.plugins.plugin_utils.digest import sha256
from ansible_collections.balena_community.migrate.plugins.plugin_utils.files import find
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import SHELL, Cargo, Remote

# Writes size, digest, mode, the free KiB of the file system, and the size of what has arrived of the file so far. Parts of
# other files of this name are removed. The digest is looked at only where the size is right. That of a large file is
# kept beside it, with what stat(1) says of the file: to read a gigabyte takes a small device a minute.
PROBE = r'''
known() {
  [ -f "$note" ] && [ "$(stat -c '%s %Y %Z %i' "$1")" = "$(tail -n +2 "$note")" ] && head -n 1 "$note"
}
look() {
  if known "$1"; then return; fi
  sum=$(digest "$1")
  if [ "$want" -ge "$large" ] && [ "$sum" = "$right" ] && [ -z "$check" ]; then
    umask 077
    { echo "$sum"; stat -c '%s %Y %Z %i' "$1"; } >"$note" 2>/dev/null || rm -f "$note"
  fi
  echo "$sum"
}
if [ -f "$dest" ]; then
  size=$(wc -c <"$dest")
  if [ "$size" -eq "$want" ]; then sum=$(look "$dest"); else sum=-; fi
  mode=$(stat -c %a "$dest" 2>/dev/null || echo -)
else size=-1 sum=- mode=-; fi
at=${dest%/*}
for old in "$at/.${dest##*/}."*.part; do
  [ -n "$check" ] || [ "$old" = "$part" ] || rm -f "$old"
done
if [ -f "$part" ]; then have=$(wc -c <"$part"); else have=0; fi
while [ ! -d "$at/" ]; do at=${at%/*}; done
free=$(df -Pk "$at/" | { read -r head; read -r dev all used free rest; echo "$free"; })
echo $size $sum $mode $free $have
'''
# From how many bytes on a digest is kept.
LARGE = 16 << 20


class Seen(NamedTuple):
    """The device's file: size -1 where there is none; free and have, what arrived of a file that is on its way, in bytes."""

    size: int
    sha256: str
    mode: str
    free: int
    have: int


class ActionModule(Action):
    """The push action."""

    ARGUMENTS: dict[str, Any] = {
        **PATIENCE,
        **RESULTS,
        'src': {'type': 'str', 'required': True},
        'dest': {'type': 'str', 'required': True},
        'mode': {'type': 'str', 'default': '0600'},
        'rate': {'type': 'int', 'default': 0},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Copy the file if it is missing or differs."""
        if not args['dest'].startswith('/') or args['dest'].endswith('/'):
            raise AnsibleActionFail('dest is "%s", expected the absolute path of a file' % args['dest'])
        with Journal(self, args['results'], task_vars).step('copy') as journal:
            outcome = self._copy(args, task_vars)
            journal.copied(outcome['changed'])
            return outcome

    def _copy(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        # Decrypts a vaulted file into a temporary one; others are taken as they are.
        local = self._loader.get_real_file(find(self, args['src'], task_vars))
        remote = Remote(self, args['connect_timeout'], task_vars)
        try:
            return self._push(remote, local, args)
        finally:
            self._loader.cleanup_tmp_file(local)

    def _push(self, remote: Remote, local: str, args: dict[str, Any]) -> dict[str, Any]:
        mode = '%04o' % int(args['mode'], 8)
        cargo = Cargo(local, args['dest'], mode, sha256(local), args['rate'])
        seen = self._look(remote, cargo)
        same = seen.size == cargo.size and seen.sha256 == cargo.digest
        right = seen.mode in ('-', mode.lstrip('0'))
        outcome = {'dest': cargo.dest, 'size': cargo.size, 'sha256': cargo.digest, 'mode': mode, 'resumed': 0,
                   'changed': not (same and right)}
        if self._task.diff and outcome['changed']:
            outcome['diff'] = self._difference(seen, outcome)
        if self._task.check_mode or not outcome['changed']:
            return dict(outcome, present=same)
        if not same:
            self._make_room(seen, cargo.size, args)
            remote.place(cargo, seen.have)
            outcome['resumed'] = seen.have
        else:
            self._change_mode(remote, cargo.dest, mode)
        return dict(outcome, present=True)

    def _look(self, remote: Remote, cargo: Cargo) -> Seen:
        folder, _slash, name = cargo.dest.rpartition('/')
        words = {'dest': cargo.dest, 'part': cargo.part, 'note': '%s/.%s.sum' % (folder, name), 'want': cargo.size,
                 'large': LARGE, 'right': cargo.digest, 'check': 'yes' if self._task.check_mode else ''}
        given = ' '.join('%s=%s' % (word, shlex.quote(str(value))) for word, value in words.items())
        done = remote.run('set -eu\n%s\n%s\n%s' % (SHELL, given, PROBE))
        said = done.out.split()
        if done.rc != 0 or len(said) != 5:
            raise AnsibleActionFail('look at %s on the device: %s' % (cargo.dest, done.tail()))
        return Seen(int(said[0]), said[1], said[2], int(said[3]) * 1024, int(said[4]))

    @staticmethod
    def _make_room(seen: Seen, size: int, args: dict[str, Any]) -> None:
        if seen.free + seen.have < size:
            raise AnsibleActionFail(
                'no room for %s on the device: %d MiB are needed beside %s, %d MiB are free'
                % (args['src'], (size >> 20) + 1, args['dest'], seen.free >> 20))

    @staticmethod
    def _change_mode(remote: Remote, dest: str, mode: str) -> None:
        done = remote.run('chmod %s %s' % (mode, shlex.quote(dest)))
        if done.rc != 0:
            raise AnsibleActionFail('change the mode of %s on the device: %s' % (dest, done.tail()))

    @staticmethod
    def _difference(seen: Seen, outcome: dict[str, Any]) -> dict[str, str]:
        """Never the content: it may be a key."""
        form = 'size: %s\nsha256: %s\nmode: %s\n'
        before = '' if seen.size < 0 else form % (seen.size, seen.sha256, seen.mode.rjust(4, '0'))
        return {'before': before, 'before_header': outcome['dest'], 'after_header': outcome['dest'],
                'after': form % (outcome['size'], outcome['sha256'], outcome['mode'])}
