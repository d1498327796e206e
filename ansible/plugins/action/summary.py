"""Shows where the devices of the play stand, as the results directory has it."""
from __future__ import annotations

import os
import textwrap
from typing import Any

from ansible import constants as C
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import RESULTS
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import Results

# Those that need a person first. A device without a file was not reached by any run.
ORDER = ('lost', 'failed', 'back', 'blocked', 'pending', 'ready', 'migrated', 'online', 'not begun')
TROUBLE = ORDER[:4]
WIDTH = 80
# More devices that are well than this are only counted, and more blockers of a device too.
WELL = 30
BLOCKERS = 4


class ActionModule(Action):
    """The summary action."""

    ARGUMENTS: dict[str, Any] = {**RESULTS, 'once': {'type': 'bool', 'default': False}}

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Read the directory and show the table."""
        results = Results(args['results'] or 'results', task_vars)
        hosts = task_vars.get('ansible_play_hosts_all') or [task_vars.get('inventory_hostname')]
        reports = sorted((_report(results, str(host)) for host in hosts), key=lambda r: (ORDER.index(r['fate']), r['host']))
        counts = {fate: sum(r['fate'] == fate for r in reports) for fate in ORDER}
        counts = {fate: count for fate, count in counts.items() if count}
        said = ', '.join('%d %s' % (count, fate) for fate, count in counts.items())
        said = '%s; balena-migrate report %s' % (said, results.folder)
        table = '\n'.join(['', *_table(reports, counts), said])
        if not (args['once'] and _shown(table)):
            Display().display(table)
        _remember(table)
        return {'changed': False, 'counts': counts, 'msg': said}


def _shown(table: str) -> bool:
    """Say whether the last table of this run of ansible-playbook was the same."""
    try:
        with open(_memory(), encoding='utf-8') as file:
            return file.read() == table
    except FileNotFoundError:
        return False


def _remember(table: str) -> None:
    with open(_memory(), 'w', encoding='utf-8') as file:
        file.write(table)


def _memory() -> str:
    return os.path.join(C.DEFAULT_LOCAL_TMP, 'balena-migrate-table')


def _report(results: Results, host: str) -> dict[str, Any]:
    report = results.load(host)
    if report is None or report.get('fate') not in ORDER:
        return {'host': host, 'fate': 'not begun', 'reason': '', 'attempts': []}
    return report


def _table(reports: list[dict[str, Any]], counts: dict[str, int]) -> list[str]:
    """Return the lines of the table, none wider than a terminal."""
    width = min(max((len(r['host']) for r in reports), default=4), 32)
    lines = []
    for report in reports:
        if report['fate'] not in TROUBLE and counts[report['fate']] > WELL:
            continue
        for number, reason in enumerate(_reasons(report)):
            head = '%-*s  %-9s  ' % (width, line(report['host'])[:width], report['fate']) if number == 0 else ' ' * (width + 13)
            lines += textwrap.wrap(reason, WIDTH, initial_indent=head, subsequent_indent=' ' * (width + 15)) or [head.rstrip()]
    lines += ['%d devices are %s' % (count, fate) for fate, count in counts.items() if fate not in TROUBLE and count > WELL]
    return lines


def _reasons(report: dict[str, Any]) -> list[str]:
    """Every blocker with what helps, or the one reason."""
    if report['fate'] == 'blocked':
        blocked = [b for step in report['attempts'][-1]['steps'] for b in step['blocked']]
        if blocked:
            texts = [line('%(check)s: found %(got)s; %(remedy)s' % b) for b in blocked]
            more = len(texts) - BLOCKERS
            return texts if more <= 1 else texts[:BLOCKERS] + ['and %d more' % more]
    return ['; '.join(filter(None, [line(report.get('reason', '')), line(_remedy(report))]))]


def _remedy(report: dict[str, Any]) -> str:
    """Return what helps against the failure that made the device what it is."""
    last = report['attempts'][-1] if report['attempts'] else {}
    if report['fate'] not in TROUBLE or last.get('fate') != report['fate']:
        return ''
    return next((step['error'].get('hint', '') for step in reversed(last['steps']) if step.get('error')), '')
