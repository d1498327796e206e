"""Waits for what becomes of a device after its reboot into stage 2.

Either the old system is back, in another boot, and says why; or it left: nothing answers any more, or something else
does. A device that is registered in balena did not leave before balena says that it is online; silence alone is no
migration. The device is never judged by one look, and no look takes longer than a minute.
"""
from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionSkip

from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import BALENA, RESULTS, TOOL
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.patience import forget
from ansible_collections.balena_community.migrate.plugins.plugin_utils.probe import Look, look
from ansible_collections.balena_community.migrate.plugins.plugin_utils.registrar import Arrival, Registrar
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Remote
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import Tool, binaries

# A host whose turn comes late (more hosts than forks) is looked at for so long at least, in seconds.
LEAST = 30


class Watch:
    """What was seen of one device over time. Times are seconds since the epoch, None while it is not so."""

    def __init__(self, old_boot_id: str, settle: int) -> None:
        self._old = old_boot_id
        self._settle = settle
        self.gone_since: float | None = None
        self._other_since: float | None = None
        self._last = Look('silence')

    def see(self, seen: Look, now: float) -> dict[str, Any] | None:
        """Take note of a look; return the verdict once there is one."""
        same_kind = seen.kind == self._last.kind
        self._last = seen
        if seen.kind == 'answer' and seen.boot_id == self._old:
            self.gone_since = self._other_since = None
            return None
        if seen.kind == 'answer':
            return self._answered(seen, now)
        self.gone_since = self.gone_since or now
        if seen.kind == 'silence' or not same_kind or self._other_since is None:
            self._other_since = None if seen.kind == 'silence' else now
            return None
        return self._other(seen, now)

    def give_up(self) -> dict[str, Any]:
        """Return the verdict when the time is over."""
        if self.gone_since is None:
            return self._verdict('the old system is still running in the boot it was in: it did not reboot')
        return self._verdict('nothing that we know answers since %s; last: %s'
                             % (stamp(self.gone_since), self._last.text or self._last.kind), left=True)

    def _answered(self, seen: Look, now: float) -> dict[str, Any]:
        if seen.system.startswith('balena') or seen.status is None:
            self.gone_since = self.gone_since or now
        if seen.system.startswith('balena'):
            return self._verdict('%s answers in boot %s' % (seen.system, seen.boot_id), left=True)
        if seen.status is None:
            text = 'a system without our status answers: %s, boot %s (%s)' % (seen.system, seen.boot_id, seen.text)
            return self._verdict(text, left=True)
        return self._verdict('the old system answers in boot %s' % seen.boot_id, came_back=True)

    def _other(self, seen: Look, now: float) -> dict[str, Any] | None:
        """A host key seen twice is enough; a refused login may be a system that goes down or comes up."""
        if seen.kind == 'refused' and now - (self._other_since or now) < self._settle:
            return None
        return self._verdict('something else answers at this address: ' + seen.text, left=True)

    def _verdict(self, evidence: str, came_back: bool = False, left: bool = False) -> dict[str, Any]:
        gone = stamp(self.gone_since) if self.gone_since else ''
        return {'came_back': came_back, 'left': left, 'evidence': evidence, 'gone_since': gone,
                'boot_id': self._last.boot_id, 'status': self._last.status or {}}


def stamp(seconds: float) -> str:
    """Return a point in time in RFC 3339, UTC."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat().replace('+00:00', 'Z')


def judged(network: dict[str, Any], arrival: Arrival) -> dict[str, Any]:
    """Return the verdict on a registered device: what balena says counts, and both are told of one that is lost."""
    if arrival.said.get('online'):
        return dict(network, left=True, online=True, evidence=arrival.text(), arrival=arrival.said)
    if not network['left']:
        return network
    evidence = 'left its old system, but %s; %s' % (arrival.text(), network['evidence'])
    return dict(network, lost=True, evidence=evidence, arrival=arrival.said)


class ActionModule(Action):
    """The wait action."""

    ARGUMENTS: dict[str, Any] = {
        **TOOL,
        **RESULTS,
        **BALENA,
        'old_boot_id': {'type': 'str', 'required': True},
        'since': {'type': 'int', 'default': 0},
        'timeout': {'type': 'int', 'default': 1800},
        'interval': {'type': 'int', 'default': 5},
        'settle': {'type': 'int', 'default': 120},
        'registered': {'type': 'bool', 'default': False},
        'balena_interval': {'type': 'int', 'default': 10},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Look until there is a verdict or the time is over."""
        if self._task.check_mode:
            raise AnsibleActionSkip('check mode does not reboot')
        began = time.time()
        deadline = max((args['since'] or began) + args['timeout'], began + LEAST)
        with Journal(self, args['results'], task_vars).step('wait') as journal:
            arrival = Arrival(Registrar(self, args, task_vars), args['balena_interval']) if args['registered'] else None
            outcome = {'online': False, 'lost': False, 'arrival': {}}
            outcome.update(self._watch(args, min(deadline, began + args['timeout']), arrival))
            journal.verdict(outcome)
        outcome.update(changed=False, waited=int(time.time() - began), msg=outcome['evidence'])
        return outcome

    def _watch(self, args: dict[str, Any], deadline: float, arrival: Arrival | None) -> dict[str, Any]:
        remote = Remote(self)
        tool = Tool(remote, binaries(args['binaries']), args['bin_dir'])
        command = tool.command(['status', '--json', '--work-dir', args['work_dir']])
        watch = Watch(args['old_boot_id'], args['settle'])
        forget(self._connection)
        while True:
            verdict = watch.see(look(remote, self._connection, command, args['old_boot_id']), time.time())
            if verdict and (verdict['came_back'] or arrival is None):
                return verdict
            over = time.time() + args['interval'] > deadline
            # What balena says of a device that has not gone down yet is of another time.
            there = arrival is not None and watch.gone_since is not None and arrival.look(time.time(), over)
            if over or there:
                network = verdict or watch.give_up()
                return judged(network, arrival) if arrival else network
            time.sleep(args['interval'])
