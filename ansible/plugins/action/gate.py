"""Says whether so many devices failed that the play has to stop.

Ansible counts a host for max_fail_percentage only when a task fails that is its last: not in a block with an always
section, and not when it is unreachable. So this counts whoever dropped out of the play.
"""
from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results

ARGUMENTS = {
    'max_fail_percentage': {'type': 'float', 'default': 0.0},
    'results': {'type': 'str', 'default': ''},
}

# Who is there is not missed.
FINISHED = ('migrated', 'online')


class ActionModule(ActionBase):
    """The gate action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Count, and compare with what is allowed."""
        outcome = super().run(tmp, task_vars)
        checked, args = self.validate_argument_spec(ARGUMENTS)
        task_vars = task_vars or {}
        left = set(task_vars.get('ansible_play_hosts') or [])
        out = [str(h) for h in task_vars.get('ansible_play_hosts_all') or [] if h not in left]
        failed = _failed(out, args['results'], task_vars)
        total = failed + len(task_vars.get('ansible_play_batch') or [])
        stop = 100.0 * failed > args['max_fail_percentage'] * total
        msg = '%d of %d devices failed, %g %% are allowed' % (failed, total, args['max_fail_percentage'])
        if stop:
            msg += ': no device goes on'
        outcome.update(changed=False, stop=stop, failed_devices=failed, devices=total, msg=msg)
        return outcome


def _failed(out: list[str], results: str, task_vars: dict[str, Any]) -> int:
    """Count those that are out of the play, but for the ones that have nothing left to do."""
    if not (out and results):
        return len(out)
    reports = Results(results, task_vars)
    return sum((reports.load(host) or {}).get('fate') not in FINISHED for host in out)
