"""balena's side of one device, asked from the controller: the device itself need not be reachable.

The key of the API comes from the environment or from a file, and goes on the same way (see desk).
"""
from __future__ import annotations

import os
import random
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils import desk, document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.files import find
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import beside, host_of
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import binaries, controllers

# Seconds: for one look at balena, and the longest pause between two.
LOOK, LONGEST = 20, 60.0


class Registrar:
    """What asks balena for the device of a task."""

    def __init__(self, action: ActionBase, args: dict[str, Any], task_vars: dict[str, Any]) -> None:
        self._action = action
        self._args = args
        self._task_vars = task_vars
        self.name = host_of(action, task_vars)

    def ask(self, verb: str, *options: str, **named: str) -> tuple[dict[str, Any], Answer]:
        """Run balena-migrate device and return its document; an option that is empty is left out."""
        ca = self._args['ca_file']
        named['ca'] = find(self._action, ca, self._task_vars) if ca else ''
        argv = ['device', verb, self.name, '--json', '--state',
                beside(self._task_vars, self._args['registrations']), *options]
        argv += ['--%s=%s' % (name.replace('_', '-'), value) for name, value in named.items() if value]
        given, token = self._token(self._args['token_file'])
        tool = controllers(binaries(self._args['binaries']), 'run "make dist" to get all')
        answer = desk.run([tool] + argv + given, token=token)
        return document.decode(answer, 'device ' + verb), answer

    def _token(self, path: str) -> tuple[list[str], str | None]:
        """Return what names the key: a plain file by its path, as its mode is looked at; a vaulted one is decrypted."""
        if not path:
            return [], None
        path = find(self._action, path, self._task_vars)
        real = self._action._loader.get_real_file(path)
        if real == os.path.abspath(path):
            return ['--token-file=' + path], ''
        try:
            with open(real, encoding='utf-8') as file:
                return [], file.read().strip()
        finally:
            self._action._loader.cleanup_tmp_file(real)


class Arrival:
    """What balena says of a device that is awaited there. Times are seconds since the epoch.

    Whatever balena answers, or does not, ends no wait: a key can be renewed, and meanwhile the old system may be back.
    """

    def __init__(self, registrar: Registrar, interval: int) -> None:
        self._registrar = registrar
        self._pause = max(1.0, interval)
        self._next = self._quiet_until = 0.0
        self._shown = ''
        self._trouble = ''
        self.said: dict[str, Any] = {}

    def look(self, now: float, finally_: bool) -> bool:
        """Say whether it is online. Balena is asked after longer and longer pauses, and finally once more, unless it refuses to be."""
        if now >= (self._quiet_until if finally_ else self._next):
            self._ask(now)
            # A fleet that began at the same moment is spread.
            self._next = max(now + self._pause * random.uniform(0.8, 1.2), self._quiet_until)
            self._pause = max(self._pause, min(self._pause * 1.5, LONGEST))
        return bool(self.said.get('online'))

    def text(self) -> str:
        """Say in a line what balena said last, and why not more."""
        said = line(self.said.get('msg') or '')
        if not self._trouble:
            return said
        if not said:
            return 'balena could not be asked: ' + self._trouble
        return '%s at %s; after that balena could not be asked: %s' % (said, line(self.said.get('seen') or ''), self._trouble)

    def _ask(self, now: float) -> None:
        try:
            said = self._registrar.ask('wait', '--once', timeout='%ds' % LOOK)[0]
        except (AnsibleError, OSError) as error:
            said = {'trouble': str(error)}
        self._quiet_until = now + float(said.get('retry_after_s') or 0)
        refused = str(said.get('schema', '')).startswith('result/')
        self._trouble = line(document.reason(said) if refused else said.get('trouble') or '')
        if not self._trouble:
            self.said = said
        self._show()

    def _show(self) -> None:
        """Show what is new."""
        text, self._shown = self._shown, self.text()
        if self._shown == text:
            return
        if self._trouble:
            Display().warning('%s: %s; asked again until the time is over' % (self._registrar.name, self._shown))
        else:
            Display().display('%s: %s' % (self._registrar.name, self._shown))
