"""Registers a device in balena, waits until it is online, removes a registration that was not used.

All of it happens on the controller: the device itself is not asked, and need not be reachable.
"""
from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleActionSkip
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils import desk, document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.files import absent
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import beside

STATES = {'registered': 'register', 'online': 'wait', 'removed': 'remove'}
# Names of the steps in the device's report: wait is what watches the old system.
STEPS = {'registered': 'register', 'online': 'online', 'removed': 'remove'}
ARGUMENTS = {
    'state': {'type': 'str', 'required': True, 'choices': list(STATES)},
    'fleet': {'type': 'str', 'default': ''},
    'device_type': {'type': 'str', 'default': ''},
    'os_version': {'type': 'str', 'default': ''},
    'hostname': {'type': 'str', 'default': ''},
    'api_url': {'type': 'str', 'default': 'https://api.balena-cloud.com'},
    'token_file': {'type': 'str', 'default': ''},
    'ca_file': {'type': 'str', 'default': ''},
    'registrations': {'type': 'str', 'default': 'registrations'},
    'timeout': {'type': 'int', 'default': 1800},
    'interval': {'type': 'int', 'default': 10},
    'binaries': {'type': 'str', 'default': ''},
    'results': {'type': 'str', 'default': ''},
}


class ActionModule(ActionBase):
    """The device action."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Ask balena, and return its answer."""
        outcome = super().run(tmp, task_vars)
        checked, args = self.validate_argument_spec(ARGUMENTS)
        task_vars = task_vars or {}
        if args['state'] == 'registered' and not args['fleet']:
            raise AnsibleActionFail('fleet is missing: it is what a device is registered in')
        if args['state'] == 'online' and self._task.check_mode:
            raise AnsibleActionSkip('check mode does not reboot')
        name = str(task_vars.get('inventory_hostname') or self._play_context.remote_addr)
        aside = args['state'] == 'removed'
        with Journal(self, args['results'], task_vars).step(STEPS[args['state']], aside=aside) as journal:
            outcome.update(self._ask(args, name, task_vars, journal))
        return outcome

    def _ask(self, args: dict[str, Any], name: str, task_vars: dict[str, Any], journal: Journal) -> dict[str, Any]:
        argv = [desk.executable(args['binaries']), 'device', STATES[args['state']], name, '--json',
                '--state', beside(task_vars, args['registrations'])]
        argv += self._options(args, task_vars)
        given, token = self._token(args['token_file'], task_vars)
        answer = desk.run(argv + given, token, lambda entry: self._told(name, entry))
        said = document.decode(answer, 'device ' + STATES[args['state']])
        if str(said.get('schema', '')).startswith('result/'):
            outcome = document.result(said, answer)
            journal.result(said)
            return outcome
        if args['state'] == 'online':
            journal.arrival(said)
        else:
            journal.registration(said)
        return dict(said, rc=answer.rc)

    def _options(self, args: dict[str, Any], task_vars: dict[str, Any]) -> list[str]:
        options = ['--check'] if self._task.check_mode else []
        named = {'ca': self._find(args['ca_file'], task_vars)}
        if args['state'] == 'registered':
            named.update({'fleet': args['fleet'], 'device-type': args['device_type'], 'os-version': args['os_version'],
                          'hostname': args['hostname'], 'api-url': args['api_url']})
        elif args['state'] == 'online':
            named.update({'timeout': '%ds' % args['timeout'], 'interval': '%ds' % args['interval']})
        return options + ['--%s=%s' % option for option in named.items() if option[1]]

    def _token(self, path: str, task_vars: dict[str, Any]) -> tuple[list[str], str | None]:
        """Return what names the key: a plain file by its path, as its mode is looked at; a vaulted one is decrypted."""
        if not path:
            return [], None
        path = self._find(path, task_vars)
        real = self._loader.get_real_file(path)
        if real == os.path.abspath(path):
            return ['--token-file=' + path], ''
        try:
            with open(real, encoding='utf-8') as file:
                return [], file.read().strip()
        finally:
            self._loader.cleanup_tmp_file(real)

    def _find(self, path: str, task_vars: dict[str, Any]) -> str:
        """Find a file as people mean it: from where they are, or from their inventory."""
        path = os.path.expanduser(path)
        for folder in (os.getcwd(), task_vars.get('inventory_dir')):
            if path and folder and os.path.isfile(os.path.join(folder, path)):
                return os.path.join(folder, path)
        if path:
            raise AnsibleActionFail(absent(path, task_vars))
        return ''

    @staticmethod
    def _told(name: str, entry: dict[str, Any]) -> None:
        """Show what is new of a device that is waited for."""
        if entry.get('msg') == 'waiting':
            Display().display('%s: %s' % (name, line(entry.get('seen', ''))))
