"""The arguments of a step as the role's variables have them, read as they are.

A task's arguments are templates, and Ansible compiles each anew for each task of each device: the configuration alone was
a hundred of them, ten times what all else of a step costs the controller. A variable that is no template costs nothing here.
"""
from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.vars import merge_hash


PREFIX = 'balena_migrate_'
# The default of balena_migrate_bin_dir: the one variable that is a template unless its user says otherwise.
BIN_DIR = '{{ balena_migrate_work_dir }}/bin'


class Role:
    """The role's variables for the device of one task."""

    def __init__(self, templar: Any, task_vars: dict[str, Any]) -> None:
        self._templar = templar
        self._vars = task_vars
        self._work = self.value('work_dir')

    def value(self, name: str) -> Any:
        """Return a variable of the role, templated if its user made it a template."""
        if PREFIX + name not in self._vars:
            raise AnsibleActionFail('of_role: there is no %s%s; it is for tasks of the role migrate only' % (PREFIX, name))
        found = self._vars[PREFIX + name]
        return self._work + '/bin' if found == BIN_DIR else self._templar.template(found)

    def arguments(self, step: str, check: bool) -> dict[str, Any]:
        """Return the arguments of a step, but for its name."""
        found = {name: self.value(name) for name in ('work_dir', 'bin_dir', 'binaries', 'results')}
        found.update(connect_timeout=int(self.value('connect_timeout')), config=self.config(), facts={}, awaited=[])
        if step != 'precheck':
            found['facts'] = self._result('result').get('facts') or {}
        # What can't be looked at yet: only precheck leaves that out, of the other steps only check mode wants to know.
        if step == 'precheck':
            skip = found['config']['checks']['skip']
            found['config']['checks']['skip'] = skip + [c for c in self._own('awaiting_checks') if c not in skip]
        elif check:
            found['awaited'] = list(self._own('awaited'))
        return found

    def config(self) -> dict[str, Any]:
        """Return the migration/1 configuration that the variables describe; balena_migrate_options has the last word."""
        options = self.value('options')
        config = {
            'image': self._image(), 'balena': self._balena(), 'network': self._network(), 'backup': self._backup(),
            'stage2': {'flash': not self._yes('rehearse'), 'log_device': self.value('log_device')},
            'checks': {'skip': list(self.value('skip_checks'))},
            'reboot': {'delay_s': int(self.value('reboot_delay'))},
        }
        return merge_hash(merge_hash(config, options), {'image': self._prepared(options)})

    def _image(self) -> dict[str, Any]:
        name = os.path.basename(str(self.value('image')))
        return {'path': self._copied('image', name), 'sha256': self.value('image_sha256'),
                'device_type': self.value('device_type')}

    def _balena(self) -> dict[str, Any]:
        # Only who brings no config.json pays for a template.
        there = self.value('config_json') or boolean(self._own('registers'), strict=False)
        return {'config_json': self._input('config.json') if there else '', 'api_url': self.value('api_url')}

    def _network(self) -> dict[str, Any]:
        return {
            'wifi': self.value('wifi'), 'ssids': self.value('ssids'), 'ssid_file': self._copied('ssid_file', 'ssids'),
            'files': [self._input('network/' + os.path.basename(str(file))) for file in self.value('network_files')],
            'from_config_json': self._yes('wifi_from_config_json'), 'require': self._yes('require_network'),
        }

    def _backup(self) -> dict[str, Any]:
        return {'definition': self._copied('backup_definition', 'backup.yml'),
                'script': self._copied('backup_script', 'backup-script'), 'volumes': self.value('backup_volumes')}

    def _prepared(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return where the device finds an image that the controller prepared, nothing where it prepares it by itself."""
        asked = options.get('image') or {}
        if self.value('prepare_on') != 'controller' or asked.get('path'):
            return {}
        if not (self.value('image') or asked.get('url') or asked.get('version')):
            return {}
        base, done = self.value('image_base_url'), self._result('prepared')
        if not base:
            return {'path': self._work + '/image.gz', 'url': '', 'version': '', 'sha256': '', 'managed': True}
        return {'path': '', 'url': '%s/%s/image.gz' % (base.rstrip('/'), done.get('name', '')), 'version': '',
                'sha256': done.get('sha256', ''), 'index': self._input('image.index.json')}

    def _copied(self, name: str, to: str) -> str:
        """Return where a file of the controller goes on the device, '' where none was given."""
        return self._input(to) if self.value(name) else ''

    def _input(self, name: str) -> str:
        return '%s/input/%s' % (self._work, name)

    def _yes(self, name: str) -> bool:
        return boolean(self.value(name), strict=False)

    def _result(self, name: str) -> dict[str, Any]:
        """Return what a task of the role registered. That came from outside: it is never a template."""
        return self._vars.get(PREFIX + name) or {}

    def _own(self, name: str) -> Any:
        """Return what the role's vars conclude from its variables."""
        return self._templar.template(self._vars['__' + PREFIX + name])
