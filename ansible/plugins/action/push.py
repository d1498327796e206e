"""Copies a file of the controller to a device that needs no Python, and only where it differs.

A file that is there already costs one round trip. A file of any size is never read into memory, arrives in a private
folder of the login user, and is moved to its place complete.
"""
from __future__ import annotations

import os
import shlex
from typing import Any, NamedTuple

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.balena_community.migrate.plugins.plugin_utils.digest import sha256
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import SHELL, Remote

ARGUMENTS = {
    'src': {'type': 'str', 'required': True},
    'dest': {'type': 'str', 'required': True},
    'mode': {'type': 'str', 'default': '0600'},
    'results': {'type': 'str', 'default': ''},
}

# Writes size, digest (only where the size is right: it may take long), mode and the free KiB of the file system.
PROBE = r'''
if [ -f "$dest" ]; then
  size=$(wc -c <"$dest")
  if [ "$size" -eq "$want" ]; then sum=$(digest "$dest"); else sum=-; fi
  mode=$(stat -c %a "$dest" 2>/dev/null || echo -)
else size=-1 sum=- mode=-; fi
at=${dest%/*}
while [ ! -d "$at/" ]; do at=${at%/*}; done
free=$(df -Pk "$at/" | { read -r head; read -r dev all used free rest; echo "$free"; })
echo $size $sum $mode $free
'''


class Seen(NamedTuple):
    """The device's file: size -1 where there is none, free in bytes."""

    size: int
    sha256: str
    mode: str
    free: int


class ActionModule(ActionBase):
    """The push action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Copy the file if it is missing or differs."""
        outcome = super().run(tmp, task_vars)
        checked, args = self.validate_argument_spec(ARGUMENTS)
        if not args['dest'].startswith('/') or args['dest'].endswith('/'):
            raise AnsibleActionFail('dest is "%s", expected the absolute path of a file' % args['dest'])
        with Journal(self, args['results'], task_vars or {}).step('copy') as journal:
            outcome.update(self._copy(args, task_vars or {}))
            journal.copied(outcome['changed'])
        return outcome

    def _copy(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        # Decrypts a vaulted file into a temporary one; others are taken as they are.
        local = self._loader.get_real_file(self._find(args['src'], task_vars))
        remote = Remote(self)
        try:
            return self._push(remote, local, args)
        finally:
            remote.close()
            self._loader.cleanup_tmp_file(local)

    def _find(self, src: str, task_vars: dict[str, Any]) -> str:
        """Find a file as people mean it: from where they are, from their inventory, or as Ansible looks for files."""
        src = os.path.expanduser(src)
        for folder in (os.getcwd(), task_vars.get('inventory_dir')):
            path = os.path.join(folder or '', src)
            if folder and os.path.isfile(path):
                return path
        try:
            found = self._find_needle('files', src)
        except AnsibleError as error:
            raise AnsibleActionFail('%s is not on the controller: %s' % (src, error)) from error
        if not os.path.isfile(found):
            raise AnsibleActionFail('%s is not a file' % found)
        return found

    def _push(self, remote: Remote, local: str, args: dict[str, Any]) -> dict[str, Any]:
        dest, mode = args['dest'], '%04o' % int(args['mode'], 8)
        size, digest = os.path.getsize(local), sha256(local)
        seen = self._look(remote, dest, size)
        same = seen.size == size and seen.sha256 == digest
        right = seen.mode in ('-', mode.lstrip('0'))
        outcome = {'dest': dest, 'size': size, 'sha256': digest, 'mode': mode, 'changed': not (same and right)}
        if self._task.diff and outcome['changed']:
            outcome['diff'] = self._difference(seen, outcome)
        if self._task.check_mode or not outcome['changed']:
            return dict(outcome, present=same)
        if not same:
            self._make_room(seen, size, args)
            remote.place(local, dest, mode, digest)
        else:
            self._change_mode(remote, dest, mode)
        return dict(outcome, present=True)

    @staticmethod
    def _look(remote: Remote, dest: str, size: int) -> Seen:
        script = 'set -eu\n%s\ndest=%s want=%d\n%s' % (SHELL, shlex.quote(dest), size, PROBE)
        done = remote.run(script)
        words = done.out.split()
        if done.rc != 0 or len(words) != 4:
            raise AnsibleActionFail('look at %s on the device: %s' % (dest, done.tail()))
        return Seen(int(words[0]), words[1], words[2], int(words[3]) * 1024)

    @staticmethod
    def _make_room(seen: Seen, size: int, args: dict[str, Any]) -> None:
        if seen.free < size:
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
