"""Registers a device in balena, removes a registration that was not used.

All of it happens on the controller: the device itself is not asked, and need not be reachable.
"""
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils import document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import BALENA, RESULTS
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.registrar import Registrar

# Names of the steps in the device's report, too.
STATES = {'registered': 'register', 'removed': 'remove'}


class ActionModule(Action):
    """The device action."""

    ARGUMENTS: dict[str, Any] = {
        **BALENA,
        **RESULTS,
        'state': {'type': 'str', 'required': True, 'choices': list(STATES)},
        'fleet': {'type': 'str', 'default': ''},
        'device_type': {'type': 'str', 'default': ''},
        'os_version': {'type': 'str', 'default': ''},
        'hostname': {'type': 'str', 'default': ''},
        'api_url': {'type': 'str', 'default': 'https://api.balena-cloud.com'},
        'binaries': {'type': 'str', 'default': ''},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Ask balena, and return its answer."""
        if args['state'] == 'registered' and not args['fleet']:
            raise AnsibleActionFail('fleet is missing: it is what a device is registered in')
        aside = args['state'] == 'removed'
        with Journal(self, args['results'], task_vars).step(STATES[args['state']], aside=aside) as journal:
            return self._ask(args, Registrar(self, args, task_vars), journal)

    def _ask(self, args: dict[str, Any], registrar: Registrar, journal: Journal) -> dict[str, Any]:
        options = ['--check'] if self._task.check_mode else []
        named = {}
        if args['state'] == 'registered':
            named = {name: args[name] for name in ('fleet', 'device_type', 'os_version', 'hostname', 'api_url')}
        said, answer = registrar.ask(STATES[args['state']], *options, **named)
        if str(said.get('schema', '')).startswith('result/'):
            outcome = document.result(said, answer)
            journal.result(said)
            return outcome
        journal.registration(said)
        return dict(said, rc=answer.rc)
