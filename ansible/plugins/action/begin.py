"""Says what became of a device in earlier runs: whether it is finished, or on its way, or is to be worked on.

What is finished is told by the results directory, and one look at the device has to agree: where the old system answers
again, there is something to do after all. Nothing is written.
"""
from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import RESULTS, TOOL
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import LASTING, Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.patience import forget
from ansible_collections.balena_community.migrate.plugins.plugin_utils.probe import Look, look
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Remote
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import Tool, binaries
from ansible_collections.balena_community.migrate.plugins.plugin_utils.typos import unknown

ARGUMENTS: dict[str, Any] = {**TOOL, **RESULTS, 'again': {'type': 'bool', 'default': False}}
FINISHED = ('migrated', 'online')


class ActionModule(ActionBase):
    """The begin action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Read the device's file and, if that says that it left its old system, look whether that is so."""
        outcome = super().run(tmp, task_vars)
        checked, args = self.validate_argument_spec(ARGUMENTS)
        outcome.update(changed=False, finished=False, waiting=False, arriving=False, old_boot_id='', since=0, fate='', msg='to be worked on')
        host = str((task_vars or {}).get('inventory_hostname'))
        report = Results(args['results'], task_vars or {}).load(host) if args['results'] else None
        self._refuse_typos(args, task_vars or {}, report)
        if report is None:
            return outcome
        outcome.update(fate=report.get('fate'), reason=line(report.get('reason', '')))
        if args['again']:
            return dict(outcome, msg='to be worked on again, as balena_migrate_again says')
        if _sought(report):
            return dict(outcome, arriving=True, msg='it left its old system: balena is asked again whether it is online')
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
        return {'waiting': True, 'old_boot_id': boot_id, 'since': since, 'msg': 'it was told to reboot: waiting for it'}

    def _look(self, args: dict[str, Any], boot_id: str) -> Look:
        remote = Remote(self)
        tool = Tool(remote, binaries(args['binaries']), args['bin_dir'])
        forget(self._connection)
        return look(remote, self._connection, tool.command(['status', '--json', '--work-dir', args['work_dir']]), boot_id)


def _sought(report: dict[str, Any]) -> bool:
    """Say whether a device left its old system, and balena had not heard of the new one when it was last asked."""
    steps = report['attempts'][-1]['steps']
    return report.get('fate') in ('migrated', 'lost') and bool(steps) and (
        steps[-1]['name'] == 'online' and steps[-1]['status'] != 'converged')


def _left(report: dict[str, Any]) -> tuple[str, int] | None:
    """Return the boot that the device was told to leave and when, if nobody has seen yet what became of it."""
    last = report['attempts'][-1]
    boot_id, steps = last.get('left_boot'), last['steps']
    names = [step['name'] for step in steps if step['status'] == 'converged']
    if not boot_id or last.get('check') or 'reboot' not in names or 'wait' in names:
        return None
    if any(step['name'] == 'wait' and step['status'] not in ('running', 'interrupted') for step in steps):
        return None
    ended = next(step['ended'] for step in steps if step['name'] == 'reboot' and step['status'] == 'converged')
    return boot_id, int(datetime.fromisoformat(ended.replace('Z', '+00:00')).timestamp())
