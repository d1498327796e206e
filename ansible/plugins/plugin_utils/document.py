"""The JSON documents of balena-migrate, as Ansible's results."""
from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer

# How many of the last log lines go into the result of a failure.
LOG_LINES = 20
# What balena-migrate calls the document that it is given.
INPUT = 'standard input'


def encode(document: dict[str, Any]) -> bytes:
    """Return a document for standard input. Vaulted values become text only here."""
    return json.dumps(document, default=str).encode('utf-8', 'surrogateescape') + b'\n'


def decode(answer: Answer, what: str) -> dict[str, Any]:
    """Return the one JSON object that balena-migrate writes, whatever happens."""
    try:
        document = json.loads(answer.out)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    raise AnsibleActionFail(
        '%s gave no JSON document: exit code %d, standard output "%s", standard error "%s"%s'
        % (what, answer.rc, _end(answer.out), _end(answer.err), _cause(answer)))


def sourced(document: dict[str, Any], source: str) -> dict[str, Any]:
    """Say in a document that can't be used what it was made of: nobody who reads this gave any standard input."""
    error = document.get('error')
    if not isinstance(error, dict) or not str(error.get('message')).startswith(INPUT):
        return document
    told = {member: str(error.get(member, '')).replace(INPUT, source, 1) for member in ('message', 'hint')}
    return dict(document, msg=told['message'], error=told)


def result(document: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Turn a result/1 into the result of a task. A failure leaves out what would bury its reason."""
    outcome = dict(document, rc=answer.rc)
    if answer.rc == 0 and not document.get('failed'):
        return outcome
    for member in ('config', 'facts', 'schema', 'steps', 'check'):
        outcome.pop(member, None)
    outcome.update(failed=True, msg=reason(document), _ansible_verbose_always=True)
    if not document.get('blocked'):
        outcome['log'] = answer.err.splitlines()[-LOG_LINES:]
    return outcome


def reason(document: dict[str, Any]) -> str:
    """Say why a step did not converge: every blocker on a line of its own, or the error with its hint."""
    blocked = document.get('blocked') or []
    if blocked:
        lines = ['- %(check)s: found %(got)s, expected %(want)s; %(remedy)s' % found for found in blocked]
        count = '%d blocker%s' % (len(blocked), '' if len(blocked) == 1 else 's')
        return '\n'.join(['%s can\'t be done here, %s:' % (document.get('step') or 'it', count)] + lines)
    hint = (document.get('error') or {}).get('hint')
    return (document.get('msg') or 'it gave no reason') + ('\nhint: ' + hint if hint else '')


def _end(text: str) -> str:
    return text.strip()[-500:]


def _cause(answer: Answer) -> str:
    if 'must have a tty' in answer.err + answer.out:
        return '; sudoers asks for a terminal: remove "requiretty" for this user'
    if 'ermission denied' in answer.err:
        return '; run it with become: true, or as root'
    return ''
