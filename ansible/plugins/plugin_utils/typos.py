"""Variables that look like the role's and are none of them.

Ansible does not mind a name that nobody asks for, and the role's argument specification holds only the names it knows. Then
balena_migrate_rehaerse: true is no rehearsal, it erases the device.
"""
from __future__ import annotations

from difflib import get_close_matches
from typing import Any

PREFIX = 'balena_migrate_'
# The playbook's own variables, and what tasks of the role leave behind for later ones and for whoever uses the role.
OTHERS = frozenset(PREFIX + name for name in (
    'hosts', 'serial',
    'begun', 'device_config', 'fate', 'files', 'gate', 'image_copies', 'keyfiles', 'prepared', 'registration', 'result',
))


def unknown(task: Any, task_vars: dict[str, Any]) -> str:
    """Say which variables of the host are none of the role's, "" if all are. Outside of the role nothing is known."""
    role = getattr(task, '_role', None)
    if role is None:
        return ''
    known = OTHERS.union(role.get_default_vars())
    wrong = sorted(str(name) for name in task_vars if str(name).startswith(PREFIX) and name not in known)
    return '; '.join(_said(name[len(PREFIX):], [k[len(PREFIX):] for k in sorted(known) if k.startswith(PREFIX)]) for name in wrong)


def _said(name: str, known: list[str]) -> str:
    meant = get_close_matches(name, known, 1)
    helps = PREFIX + meant[0] + ' is' if meant else (
        'ansible-doc -t role balena_community.migrate.migrate lists them, and names of your own must not begin with ' + PREFIX)
    return '%s%s is no variable of the role; %s' % (PREFIX, name, helps)
