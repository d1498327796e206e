"""Runs one step of balena-migrate on a device that needs sshd and sudo, but no Python.

One ssh round trip per step: the document goes to standard input, the result comes back on standard output. Only
where the executable is missing, more of them install it. A step that takes longer works on by itself on the device, and
each further round trip waits for it and says how far it is; a connection that is lost costs no work.
"""
from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils import document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import PATIENCE, RESULTS, TOOL
from ansible_collections.balena_community.migrate.plugins.plugin_utils.detached import follow
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer, Remote
from ansible_collections.balena_community.migrate.plugins.plugin_utils.role import Role
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import OTHER_BOOT, Tool, binaries

# What a step's document is made of, of a task and of the role.
SOURCES = {False: "this task's config or facts", True: 'balena_migrate_options or another variable of the role'}
STEPS = ('precheck', 'prepare-image', 'collect-wifi', 'backup', 'build-initramfs', 'arm-boot', 'reboot')


class ActionModule(Action):
    """The step action."""

    ARGUMENTS: dict[str, Any] = {
        **TOOL,
        **PATIENCE,
        **RESULTS,
        'name': {'type': 'str', 'required': True, 'choices': list(STEPS)},
        'config': {'type': 'dict', 'default': {}},
        'facts': {'type': 'dict', 'default': {}},
        'awaited': {'type': 'list', 'elements': 'str', 'default': []},
        'of_role': {'type': 'bool', 'default': False},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the step and return its result."""
        if args['of_role']:
            args.update(Role(self._templar, task_vars).arguments(args['name'], self._task.check_mode))
        remote = Remote(self, args['connect_timeout'], task_vars)
        rehearsal = (args['config'].get('stage2') or {}).get('flash') is False
        with Journal(self, args['results'], task_vars).step(args['name'], rehearsal) as journal:
            return self._step(remote, args, journal)

    def _step(self, remote: Remote, args: dict[str, Any], journal: Journal) -> dict[str, Any]:
        tool = Tool(remote, binaries(args['binaries']), args['bin_dir'])
        asked = {'schema': 'migration/1', 'config': args['config'], 'facts': args['facts']}
        if args['name'] == 'reboot' and not self._task.check_mode:
            answer = self._reboot(remote, tool, args, asked)
        else:
            data = document.encode(asked)
            answer = follow(lambda more: tool.run(self._argv(args) + more, data), args['name'], remote.host)
        said = document.sourced(document.decode(answer, 'step ' + args['name']), SOURCES[args['of_role']])
        outcome = document.result(said, answer)
        outcome.update(installed=tool.installed, at=int(time.time()))
        if outcome.get('failed') and self._task.check_mode and args['awaited']:
            outcome = self._not_there_yet(args, outcome)
            journal.result(said, skipped=outcome['msg'])
            return outcome
        journal.result(said)
        return outcome

    def _reboot(self, remote: Remote, tool: Tool, args: dict[str, Any], asked: dict[str, Any]) -> Answer:
        """Order the reboot of the boot that is now. Should the answer be lost and another boot answer, it was done."""
        boot = remote.run('cat /proc/sys/kernel/random/boot_id').out.strip()
        if len(boot) != 36:
            raise AnsibleActionFail('the device did not tell its boot id: "%s"' % line(boot))
        answer = tool.run(self._argv(args), document.encode(asked), boot)
        if answer.rc != OTHER_BOOT:
            return answer
        done = {'schema': 'result/1', 'step': 'reboot', 'status': 'converged', 'changed': True, 'check': False, 'failed': False,
                'msg': 'reboot: it answers in another boot', 'changes': [{'action': 'reboot', 'target': 'the answer was lost'}],
                'blocked': [], 'warnings': [], 'config': args['config'],
                'facts': dict(args['facts'], reboot={'boot_id': boot, 'pending': False, 'due': ''})}
        return Answer(0, document.encode(done).decode(), '')

    def _argv(self, args: dict[str, Any]) -> list[str]:
        argv = ['step', args['name'], '--json', '--input', '-', '--work-dir', args['work_dir']]
        if self._task.check_mode:
            argv.append('--check')
        if self._task.diff:
            argv.append('--diff')
        return argv

    @staticmethod
    def _not_there_yet(args: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
        """Check mode copied nothing, so a step that needs the files that would have been copied can't tell."""
        note = '%s was not looked at in full, as check mode did not copy %s: %s' % (
            args['name'], ', '.join(args['awaited']), outcome['msg'])
        return {'changed': True, 'check': True, 'step': args['name'], 'msg': note, 'warnings': [note],
                'facts': args['facts'], 'at': outcome['at'], 'installed': outcome['installed']}
