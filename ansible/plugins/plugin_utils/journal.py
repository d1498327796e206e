"""What became of each device, one file per device in the results directory of the controller.

A file is written before and after every step, complete or not at all. So whatever interrupts the playbook, the file is
true: the step that was under way still says so. The format is device-report/1 (balena-migrate schema device-report).
It holds no secret: nothing of the configuration but the image's version, and where no_log is set no texts.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from typing import Any, Iterator

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils import fate
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line, now
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import NAME, Results, host_of

# Older runs are counted, not kept.
ATTEMPTS = 20
# What a device may say at most: it is not ours.
ITEMS = 200
# True until the device answers again, whatever run begins.
LASTING = fate.FINISHED + ('lost',)
FACTS = {
    'hostname': '', 'os': '', 'os_id': '', 'os_version': '', 'kernel': '', 'arch': '', 'firmware': '', 'boot_method': '',
    'device_type': '', 'disk': '', 'disk_model': '', 'disk_bytes': 0, 'memory_bytes': 0, 'memory_need_bytes': 0,
    'write_kb_s': 0, 'image_version': '', 'image_sha256': '', 'image_bytes': 0,
}


class Journal:
    """The file of one device, for the length of one task."""

    def __init__(self, action: ActionBase, results: str, task_vars: dict[str, Any]) -> None:
        self._host = host_of(action, task_vars)
        self._address = str(action._play_context.remote_addr or self._host)
        self._groups = sorted(g for g in task_vars.get('group_names') or [] if g != 'ungrouped')
        self._check = bool(action._task.check_mode)
        self._quiet = bool(action._task.no_log)
        self._results = Results(results, task_vars) if results else None
        self._doc: dict[str, Any] = {}
        self._attempt: dict[str, Any] = {}
        self._began = 0.0
        self._step: dict[str, Any] = {}
        self._aside = False
        self._connection = action._connection

    @contextlib.contextmanager
    def step(self, name: str, rehearsal: bool = False, aside: bool = False) -> Iterator[Journal]:
        """Keep account of one step. What is raised in it is noted and raised on; a killed process leaves it running.

        A step aside decides nothing about the device: its fate stays what it was.
        """
        self._aside = aside
        if self._results is None:
            yield self
            return
        self._begin(name, rehearsal)
        try:
            yield self
        except Exception as error:
            told = self._failed(error)
            if told is error:
                raise
            raise told from error

    def _failed(self, error: Exception) -> Exception:
        """Note what was raised, and return what is to be raised on."""
        fault = own_fault(self._connection)
        if fault:
            self._close('failed', 'failed', fault, error={'message': fault, 'hint': fate.OWN_FAULT})
            return AnsibleActionFail('%s; this says nothing about the device: %s' % (fault, line(error)))
        if isinstance(error, AnsibleConnectionFailure):
            hint = self._unreachable(str(error))
            # A host that Ansible takes for unreachable gets no further task, so none would be left to show the table.
            return AnsibleActionFail('the device can\'t be reached: %s; %s' % (line(error), hint), result={'device_unreachable': True})
        self._close('failed', 'failed', line(error), error={'message': line(error), 'hint': fate.remedy(str(error), '')})
        return error

    def result(self, document: dict[str, Any], skipped: str = '') -> None:
        """Note a result/1; skipped says why check mode could not look."""
        if self._results is None:
            return
        self._facts(document)
        if skipped:
            self._close('skipped', *self._standing(), warnings=[skipped])
            return
        status = str(document.get('status'))
        blocked = [{m: line(b.get(m, '')) for m in ('check', 'got', 'want', 'remedy')} for b in _dicts(document, 'blocked')]
        changes = len(_list(document, 'changes'))
        about = {'blocked': blocked, 'changes': changes, 'changed': bool(document.get('changed')),
                 'warnings': [line(w) for w in _list(document, 'warnings')]}
        if status == 'converged':
            self._step['status'] = status
            if self._step['name'] == 'reboot' and not self._check:
                self._attempt['left_boot'] = line(fate.boot_id(document))
            self._close(status, *self._standing(), **about)
        elif status == 'blocked':
            self._close(status, 'blocked', fate.of_blockers(blocked), **about)
        else:
            error = document.get('error') if isinstance(document.get('error'), dict) else {}
            message = line(error.get('message') or document.get('msg') or 'it gave no reason')
            self._close('failed', 'failed', message, error={'message': message, 'hint': line(error.get('hint', ''))}, **about)

    def copied(self, changed: bool) -> None:
        """Note that a file is on the device, or in check mode would be."""
        if self._results is None:
            return
        # A loop goes on behind the file that failed: that one is what became of the device.
        end = self._standing()
        before = self._attempt['steps'][-2:-1]
        if before and before[0]['name'] == self._step['name'] and 'error' in before[0]:
            end = ('failed', before[0]['error']['message'])
        self._close('converged', *end, changed=changed or self._step['changed'], changes=self._step['changes'] + int(changed))

    def verdict(self, seen: dict[str, Any]) -> None:
        """Note what the wait for the device came to."""
        if self._results is None:
            return
        end = fate.of_verdict(seen, self._attempt['rehearsal'])
        outcome = (seen.get('status') or {}).get('outcome')
        if isinstance(outcome, dict):
            self._attempt['outcome'] = outcome
        about: dict[str, Any] = {'evidence': line(seen['evidence'])}
        if end.fate in ('back', 'lost', 'failed'):
            about['error'] = {'message': end.reason, 'hint': end.hint}
        self._close('failed' if 'error' in about else 'converged', end.fate, end.reason, since=end.since, **about)

    def registration(self, document: dict[str, Any]) -> None:
        """Note what became of the device's registration in balena, a device-registration/1."""
        if self._results is None:
            return
        removed = document.get('state') in ('removed', 'none')
        self._doc['device_id'] = '' if removed else line(document.get('uuid') or '')
        changed = bool(document.get('changed'))
        self._close('converged', *self._standing(), changed=changed, changes=int(changed), evidence=line(document.get('msg', '')))

    def _begin(self, name: str, rehearsal: bool) -> None:
        try:
            self._doc = self._results.load(self._host) or self._new()
            self._enter(name, rehearsal)
            self._results.save(self._host, self._doc, sync=False)
        except OSError as error:
            raise AnsibleActionFail('the results directory on the controller can\'t be written, so nothing was begun: %s; mend '
                                    'it, or choose another with balena_migrate_results' % error) from error

    def _enter(self, name: str, rehearsal: bool) -> None:
        self._began = time.time()
        self._doc.update(address=self._address, groups=self._groups)
        self._attempt = self._run()
        self._attempt['rehearsal'] = self._attempt['rehearsal'] or rehearsal
        steps = self._attempt['steps']
        for old in steps:
            if old['status'] == 'running':
                old['status'] = 'interrupted'
        if not (steps and steps[-1]['name'] == name == 'copy' and steps[-1]['status'] == 'converged'):
            steps.append({'name': name, 'status': 'running', 'changed': False, 'changes': 0, 'started': now(), 'ended': '',
                          'seconds': 0.0, 'blocked': [], 'warnings': []})
        self._step = steps[-1]
        self._step.update(status='running', ended='')
        self._state('pending', name + ' is under way')

    def _run(self) -> dict[str, Any]:
        """Return the attempt of this run of ansible-playbook."""
        run = this_run()
        attempts = self._doc['attempts']
        if attempts and attempts[-1]['run'] == run and attempts[-1]['check'] == self._check:
            return attempts[-1]
        if attempts:
            for old in attempts[-1]['steps']:
                if old['status'] == 'running':
                    old['status'] = 'interrupted'
                    attempts[-1]['reason'] = 'interrupted in ' + old['name']
        attempts.append({'run': run, 'started': now(), 'ended': now(), 'check': self._check, 'rehearsal': False,
                         'fate': 'pending', 'reason': '', 'steps': []})
        while len(attempts) > ATTEMPTS:
            attempts.pop(0)
            self._doc['attempts_dropped'] += 1
        return attempts[-1]

    def _new(self) -> dict[str, Any]:
        return {'schema': NAME, 'host': self._host, 'address': '', 'groups': [], 'fate': 'pending', 'reason': '', 'since': now(),
                'device_id': '', 'facts': dict(FACTS), 'attempts': [], 'attempts_dropped': 0}

    def _standing(self) -> tuple[str, str]:
        """Return fate and reason of a device all of whose steps went well so far."""
        done = [s['name'] for s in self._attempt['steps'] if s['status'] == 'converged']
        return fate.of_steps(done, self._step['name'], self._check, [
            s['name'] for s in self._attempt['steps'] if s['status'] == 'skipped'])

    def _unreachable(self, text: str) -> str:
        """A device that left its old system is not expected to answer: that it does not changes nothing. Returns what helps."""
        end, hint = ('lost', 'does not answer: ' + line(text)), fate.remedy(text, fate.UNREACHABLE)
        self._close('unreachable', *end, error={'message': line(text), 'hint': hint}, answered=False)
        return hint

    def _close(self, status: str, end: str, reason: str, since: str = '', answered: bool = True, **about: Any) -> None:
        if self._quiet:
            about.update(blocked=[], warnings=[], evidence='')
            if 'error' in about:
                about['error'] = {'message': 'not shown, as no_log is set', 'hint': ''}
            reason = '' if reason and end in ('blocked', 'failed', 'back', 'lost') else reason
        self._step.update(about, status=status, ended=now())
        self._step['seconds'] = round(self._step['seconds'] + time.time() - self._began, 3)
        self._state(end, reason, since, answered)
        try:
            self._results.save(self._host, self._doc, sync=True)
        except OSError as error:
            # The device goes its way whatever becomes of its file.
            Display().warning('%s of %s is not in the results directory: %s' % (self._step['name'], self._host, error))

    def _state(self, end: str, reason: str, since: str = '', answered: bool = True) -> None:
        if self._aside and self._attempt['steps'][:-1]:
            self._attempt['ended'] = now()
            return
        self._attempt.update(fate=end, reason=reason, ended=now())
        doc = self._doc
        if doc['fate'] in LASTING and (end == 'pending' and not self._step['ended'] or not answered and doc['fate'] != 'lost'):
            return
        if not (doc['fate'] == end and (doc['reason'] == reason or end == 'lost')):
            doc['since'] = since or now()
        doc.update(fate=end, reason=reason)

    def _facts(self, document: dict[str, Any]) -> None:
        """Keep what matters of a device; what is not said now stays as it was."""
        for name, value in fate.facts(document).items():
            if value:
                self._doc['facts'][name] = value


def own_fault(connection: Any) -> str:
    """Say what keeps this controller from connecting to anything: ssh then fails for every device, and none of them is lost."""
    sockets = os.path.expanduser(getattr(connection, 'control_path_dir', None) or '')
    for folder in filter(os.path.isdir, (os.path.dirname(C.DEFAULT_LOCAL_TMP), sockets)):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(4096))
                file.flush()
        except OSError as error:
            return 'this controller can\'t write its own files in %s: %s' % (folder, line(error))
    return ''


def this_run() -> str:
    """Return the name of this run of ansible-playbook. Its local temporary folder is its own."""
    return hashlib.sha256(C.DEFAULT_LOCAL_TMP.encode()).hexdigest()[:12]


def _list(document: dict[str, Any], member: str) -> list[Any]:
    found = document.get(member)
    return found[:ITEMS] if isinstance(found, list) else []


def _dicts(document: dict[str, Any], member: str) -> list[dict[str, Any]]:
    return [one for one in _list(document, member) if isinstance(one, dict)]
