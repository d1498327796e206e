"""Calls to a device that comes and goes: tried again after longer and longer pauses, for as long as somebody has patience.

Only the connection's failures are tried again. A login that is refused and a host key that is another do not mend by
themselves, and passwords tried over and over lock accounts.
"""
from __future__ import annotations

import time
from typing import Any, Callable

from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils.bounded import Overdue, bounded

# What ssh says when there is a server, but not the one that was left.
OTHER_KEY = ('host identification has changed', 'host key verification failed')
REFUSED = ('permission denied', 'invalid/incorrect password', 'too many authentication failures',
           'no matching host key type')
# A device that hangs in the middle of sudo is one that can't be reached.
HANGS = 'waiting for privilege escalation prompt'
# Seconds: the first pause, the longest, and how long the end of an old connection may take.
FIRST, LONGEST, CONNECT = 0.5, 30.0, 10
# A peer that is gone without a word is noticed within a minute, not never.
ALIVE = '-o ServerAliveInterval=15 -o ServerAliveCountMax=4'


def watchful(connection: Any) -> None:
    """Have ssh notice a peer that is gone, unless the user has said something about that."""
    if connection.transport != 'ssh':
        return
    given = [connection.get_option(name) or '' for name in ('ssh_args', 'ssh_common_args', 'ssh_extra_args')]
    if not any('serveralive' in text.lower() for text in given):
        connection.set_option('ssh_args', '%s %s' % (given[0], ALIVE))


def insist(call: Callable[[], Any], connection: Any, seconds: int, host: str) -> Any:
    """Return what call returns. It has to be fit for being made again, whatever became of it the first time."""
    deadline, pause = None, FIRST
    while True:
        try:
            return call()
        except AnsibleError as error:
            if not _passes(error):
                raise
            now = time.monotonic()
            if deadline is None:
                deadline = now + seconds
                _tell(host, str(error), seconds)
            if now + pause > deadline:
                raise _lost(error) from error
        forget(connection)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST)


def forget(connection: Any) -> None:
    """End the ControlMaster of the tasks before: it may lead to nowhere."""
    def reset() -> dict[str, Any]:
        connection.reset()
        return {}

    try:
        bounded(reset, CONNECT)
    except Overdue:
        pass  # ssh then makes a connection of its own


def _passes(error: AnsibleError) -> bool:
    text = str(error).lower()
    if isinstance(error, AnsibleAuthenticationFailure) or any(sign in text for sign in OTHER_KEY + REFUSED):
        return False
    return isinstance(error, AnsibleConnectionFailure) or HANGS in text


def _lost(error: AnsibleError) -> AnsibleConnectionFailure:
    return error if isinstance(error, AnsibleConnectionFailure) else AnsibleConnectionFailure(str(error))


def _tell(host: str, text: str, seconds: int) -> None:
    if seconds > 0:
        Display().display('%s: no connection, trying again for %d s: %s' % (host, seconds, ' '.join(text.split())[-200:]))
