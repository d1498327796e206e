"""Fetches small files of a device that needs no Python, such as logs, into the results directory.

They come in pieces, each a round trip, and get their names on the controller complete and for their owner alone.
"""
from __future__ import annotations

import os
import shlex
import tempfile
from typing import Any, BinaryIO

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import PATIENCE, RESULTS
from ansible_collections.balena_community.migrate.plugins.plugin_utils.digest import of_file
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import SHELL, Remote
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results

PIECE = 1 << 20


class ActionModule(Action):
    """The fetch action."""

    ARGUMENTS: dict[str, Any] = {
        **PATIENCE,
        **RESULTS,
        'src': {'type': 'list', 'elements': 'str', 'required': True},
        'max_mib': {'type': 'int', 'default': 16},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Fetch what is there and differs."""
        remote = Remote(self, args['connect_timeout'], task_vars)
        folder = Results(args['results'] or 'results', task_vars).path(remote.host)[:-len('.json')] + '.files'
        got: list[str] = []
        changed = False
        for source in args['src']:
            if not source.startswith('/'):
                raise AnsibleActionFail('src is "%s", expected the absolute path of a file' % source)
            to = os.path.join(folder, os.path.basename(source))
            new = self._fetch(remote, source, to, args['max_mib'] << 20)
            changed = changed or bool(new)
            if new is not None:
                got.append(to)
        return {'changed': changed, 'files': got, 'msg': '%d files in %s' % (len(got), folder)}

    def _fetch(self, remote: Remote, source: str, to: str, most: int) -> bool | None:
        """Return whether a file is new, None where the device has none. Of one that is too large the end is taken: it is a log."""
        done = remote.run('%s\nif [ ! -f %s ]; then exit 0; fi; wc -c <%s && digest %s' % ((SHELL,) + 3 * (shlex.quote(source),)))
        words = done.out.split()
        if done.rc != 0 or len(words) not in (0, 2):
            raise AnsibleActionFail('look at %s on the device: %s' % (source, done.tail()))
        if not words:
            return None
        size = int(words[0])
        if os.path.isfile(to) and of_file(to) == words[1]:
            return False
        if self._task.check_mode:
            return True
        os.makedirs(os.path.dirname(to), mode=0o700, exist_ok=True)
        handle, new = tempfile.mkstemp(prefix='.new-', dir=os.path.dirname(to))  # mode 0600
        try:
            with os.fdopen(handle, 'wb') as file:
                self._pieces(remote, source, max(0, size - most), size, file)
            os.replace(new, to)
        except BaseException:
            os.unlink(new)
            raise
        return True

    @staticmethod
    def _pieces(remote: Remote, source: str, at: int, size: int, file: BinaryIO) -> None:
        """Take what the file had when it was looked at: a log may grow."""
        while at < size:
            count = min(PIECE, size - at)
            done = remote.run('tail -c +%d %s | head -c %d' % (at + 1, shlex.quote(source), count))
            piece = done.out.encode('utf-8', 'surrogateescape')
            if done.rc != 0 or len(piece) != count:
                raise AnsibleActionFail('read %s on the device: %d of %d bytes from %d on: %s' % (
                    source, len(piece), count, at, done.err.strip()[-500:]))
            file.write(piece)
            at += count
