"""Says whether so many devices failed that the play has to stop.

Ansible counts a host for max_fail_percentage only when a task fails that is its last: not in a block with an always
section, and not when it is unreachable. So this counts whoever dropped out of the play.
"""
from __future__ import annotations

from typing import Any

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import FINISHED
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import this_run
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results


class ActionModule(Action):
    """The gate action."""

    ARGUMENTS: dict[str, Any] = {
        'max_fail_percentage': {'type': 'float', 'default': 0.0},
        'results': {'type': 'str', 'default': ''},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Count, and compare with what is allowed."""
        left = set(task_vars.get('ansible_play_hosts') or [])
        out = [str(h) for h in task_vars.get('ansible_play_hosts_all') or [] if h not in left]
        failed = _failed(out, args['results'], task_vars)
        total = len(failed) + len(task_vars.get('ansible_play_batch') or [])
        stop = 100.0 * len(failed) > args['max_fail_percentage'] * total
        msg = '%d of %d devices failed, %g %% are allowed' % (len(failed), total, args['max_fail_percentage'])
        if stop:
            msg += ': no device goes on'
        return {'changed': False, 'stop': stop, 'failed_devices': len(failed), 'failed_hosts': failed, 'devices': total, 'msg': msg}


def _failed(out: list[str], results: str, task_vars: dict[str, Any]) -> list[str]:
    """Return those that are out of the play, but for the ones that have nothing left to do."""
    if not (out and results):
        return out
    reports = Results(results, task_vars)
    return [host for host in out if not _finished(reports.load(host))]


def _finished(report: dict[str, Any] | None) -> bool:
    """Say whether a device arrived, or came back in this very run from a rehearsal that an earlier one had begun."""
    if report is None:
        return False
    last = report['attempts'][-1]
    rehearsed = report['fate'] == 'ready' and last['run'] == this_run() and last['steps'][-1:] and last['steps'][-1]['name'] == 'wait'
    return report['fate'] in FINISHED or bool(rehearsed)
