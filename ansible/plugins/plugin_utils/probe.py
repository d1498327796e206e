"""One look at a device that may be up, down, or another system by now."""
from __future__ import annotations

import json
import shlex
from typing import Any, NamedTuple

from ansible_collections.balena_community.migrate.plugins.plugin_utils.bounded import Overdue, bounded
from ansible_collections.balena_community.migrate.plugins.plugin_utils.patience import CONNECT, OTHER_KEY, REFUSED
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer, Remote

# Seconds for a whole look.
LOOK = 60

# Ours comes first, and the first value counts for ssh: every look is a connection of its own, which no dead
# ControlMaster can hold up, asks nobody, and notices a peer that is gone.
SSH_ARGS = '-o ControlMaster=no -o ControlPath=none -o ServerAliveInterval=5 -o ServerAliveCountMax=3'

class Look(NamedTuple):
    """What was seen: kind is silence, refused, other-key or answer. The rest belongs to an answer."""

    kind: str
    text: str = ''
    boot_id: str = ''
    system: str = ''
    status: Any = None


def look(remote: Remote, connection: Any, command: str, old_boot_id: str) -> Look:
    """Connect anew and ask for the boot and, in another boot than the old one, for the status."""
    def ask() -> dict[str, Any]:
        try:
            _isolate(connection)
            done = remote.once(_script(command, old_boot_id))
            return {'rc': done.rc, 'out': done.out, 'err': done.err}
        except Exception as error:  # the process ends here: what is not said now is lost
            return {'error': str(error) or repr(error)}

    try:
        seen = bounded(ask, LOOK)
    except Overdue as error:
        return Look('silence', str(error))
    if 'error' in seen:
        return Look(_kind(seen['error']), _line(seen['error']))
    return _parse(Answer(seen['rc'], seen['out'], seen['err']))


def _isolate(connection: Any) -> None:
    """Drop the connection of the tasks before. Only ssh knows the options, others have nothing to isolate."""
    if connection.transport == 'ssh':
        connection.set_option('ssh_args', '%s %s' % (SSH_ARGS, connection.get_option('ssh_args') or ''))
        connection.set_option('timeout', CONNECT)
        connection.set_option('reconnection_retries', 0)
    else:
        connection.reset()


def _script(command: str, old_boot_id: str) -> str:
    return (
        'read -r boot </proc/sys/kernel/random/boot_id || exit; echo "$boot"; '
        'if [ -r /etc/os-release ]; then . /etc/os-release; fi; echo "${ID:-unknown} ${VERSION_ID:-}"; '
        'if [ "$boot" = %s ]; then exit 0; fi; %s' % (shlex.quote(old_boot_id), command))


def _kind(error: str) -> str:
    text = error.lower()
    for kind, signs in (('other-key', OTHER_KEY), ('refused', REFUSED)):
        if any(sign in text for sign in signs):
            return kind
    return 'silence'


def _parse(done: Answer) -> Look:
    """Take apart boot id, system and status. Without a boot id it is not up yet (sudo may not work so early)."""
    boot_id, _newline, rest = done.out.partition('\n')
    system, _newline, document = rest.partition('\n')
    if len(boot_id) != 36:
        return Look('silence', _line(done.tail()))
    try:
        status = json.loads(document)
    except ValueError:
        status = None
    return Look('answer', _line(done.err), boot_id, system.strip(), status if isinstance(status, dict) else None)


def _line(text: str) -> str:
    return ' '.join(text.split())[-500:]
