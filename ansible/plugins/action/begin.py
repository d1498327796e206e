"""Says what became of a device in earlier runs: whether it is finished, or on its way, or is to be worked on.

What is finished is told by the results directory, and one look at the device has to agree: where the old system answers
again, there is something to do after all. Nothing is written.
"""
from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import RESULTS, TOOL
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import FINISHED, line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import LASTING, Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.patience import forget
from ansible_collections.balena_community.migrate.plugins.plugin_utils.probe import Look, look
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Remote
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results, host_of
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import Tool, binaries
from ansible_collections.balena_community.migrate.plugins.plugin_utils.typos import unknown


class ActionModule(Action):
    """The begin action."""

    ARGUMENTS: dict[str, Any] = {**TOOL, **RESULTS, 'again': {'type': 'bool', 'default': False}}

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Read the device's file and, if that says that it left its old system, look whether that is so."""
        outcome = {'changed': False, 'finished': False, 'waiting': False, 'old_boot_id': '', 'since': 0, 'fate': '',
                   'msg': 'to be worked on'}
        host = host_of(self, task_vars)
        report = Results(args['results'], task_vars).load(host) if args['results'] else None
        self._refuse_typos(args, task_vars, report)
        if report is None:
            return outcome
        outcome.update(fate=report.get('fate'), reason=line(report.get('reason', '')))
        if args['again']:
            return dict(outcome, msg='to be worked on again, as balena_migrate_again says')
        if report.get('fate') in FINISHED:
            return dict(outcome, **self._finished(args, report))
        left = _left(report)
        return dict(outcome, **self._under_way(args, *left)) if left else outcome

    def _refuse_typos(self, args: dict[str, Any], task_vars: dict[str, Any], report: dict[str, Any] | None) -> None:
        mistyped = unknown(self._task, task_vars)
        if not mistyped:
            return
        if report is not None and report.get('fate') in LASTING + ('back',):
            raise AnsibleActionFail(mistyped)  # it says nothing about such a device
        with Journal(self, args['results'], task_vars).step('variables'):
            raise AnsibleActionFail(mistyped)

    def _finished(self, args: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
        seen = self._look(args, '')
        if seen.kind == 'answer' and seen.status is not None and not seen.system.startswith('balena'):
            return {'msg': 'it was %s, but its old system answers: it is worked on again' % report['fate']}
        return {'finished': True, 'msg': 'nothing to do: %s since %s; %s' % (
            report['fate'], report.get('since', ''), line(report.get('reason', '')))}

    def _under_way(self, args: dict[str, Any], boot_id: str, since: int) -> dict[str, Any]:
        """A run was interrupted while the device rebooted. If it still is in the boot it was in, that is to be done again."""
        seen = self._look(args, boot_id)
        if seen.kind == 'answer' and seen.boot_id == boot_id:
            return {}
        return {'waiting': True, 'old_boot_id': boot_id, 'since': since,
                'msg': 'it was told to reboot, and nobody saw yet what became of it: waiting for it'}

    def _look(self, args: dict[str, Any], boot_id: str) -> Look:
        remote = Remote(self)
        tool = Tool(remote, binaries(args['binaries']), args['bin_dir'])
        forget(self._connection)
        return look(remote, self._connection, tool.command(['status', '--json', '--work-dir', args['work_dir']]), boot_id)


def _left(report: dict[str, Any]) -> tuple[str, int] | None:
    """Return the boot that the device was told to leave and when, if nobody has seen yet what became of it.

    Runs that only waited, and were interrupted or heard of nothing, come after the one that told it.
    """
    for attempt in reversed(report['attempts']):
        steps = attempt['steps']
        waits = [step for step in steps if step['name'] == 'wait']
        if attempt.get('check') or not all(_open(step, attempt) for step in waits):
            return None
        told = [step for step in steps if step['name'] == 'reboot' and step['status'] == 'converged']
        if told and attempt.get('left_boot'):
            return attempt['left_boot'], int(datetime.fromisoformat(told[-1]['ended'].replace('Z', '+00:00')).timestamp())
        if not waits:
            return None
    return None


def _open(wait: dict[str, Any], attempt: dict[str, Any]) -> bool:
    """Say whether a wait came to no end, or to that of a device that is lost and may yet be found."""
    return wait['status'] in ('running', 'interrupted') or attempt.get('fate') == 'lost' and not attempt.get('rehearsal')
