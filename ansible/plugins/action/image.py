"""Makes an image ready to be flashed on the controller: once, for however many devices it is meant.

The work is balena-migrate's own step prepare-image. What it made lies in a folder of its own for each image and is used
again by later runs.
"""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils import desk, document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.action import Action
from ansible_collections.balena_community.migrate.plugins.plugin_utils.arguments import RESULTS
from ansible_collections.balena_community.migrate.plugins.plugin_utils.detached import follow
from ansible_collections.balena_community.migrate.plugins.plugin_utils.files import find
from ansible_collections.balena_community.migrate.plugins.plugin_utils.journal import Journal
from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import beside
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import binaries, controllers


class ActionModule(Action):
    """The image action."""

    ARGUMENTS: dict[str, Any] = {
        **RESULTS,
        'image': {'type': 'dict', 'required': True},
        'balena': {'type': 'dict', 'default': {}},
        'config_json': {'type': 'str', 'default': ''},
        'cache': {'type': 'str', 'default': 'prepared'},
        'binaries': {'type': 'str', 'default': ''},
    }

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Prepare the image, unless it is prepared already."""
        with Journal(self, args['results'], task_vars).step('image') as journal:
            outcome = self._image(args, task_vars)
            journal.copied(outcome['changed'])
            return outcome

    def _image(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        image = {name: value for name, value in args['image'].items() if value}
        if image.get('path'):
            image['path'] = find(self, image['path'], task_vars)
        keys = self._loader.get_real_file(find(self, args['config_json'], task_vars)) if args['config_json'] else ''
        try:
            folder = os.path.join(beside(task_vars, args['cache']), _name(image, args['balena'], keys))
            os.makedirs(folder, mode=0o700, exist_ok=True)
            balena = dict(args['balena'], config_json=keys)
            document_ = {'schema': 'migration/1', 'config': {'image': image, 'balena': balena}, 'facts': {}}
            return self._once(folder, binaries(args['binaries']), document.encode(document_))
        finally:
            if keys:
                self._loader.cleanup_tmp_file(keys)

    def _once(self, folder: str, builds: str, data: bytes) -> dict[str, Any]:
        """Do it for the first host of the run that asks; the others wait and take what came of it, a failure too."""
        memory = hashlib.sha256(folder.encode('utf-8', 'surrogateescape')).hexdigest()[:16]
        with open(os.path.join(C.DEFAULT_LOCAL_TMP, 'balena-migrate-image-%s-%s' % (memory, self._task.check_mode)), 'a+') as cache:
            fcntl.flock(cache, fcntl.LOCK_EX)
            cache.seek(0)
            known = cache.read()
            if known:
                outcome = dict(json.loads(known), changed=False)
            else:
                outcome = self._prepare(folder, builds, data)
                cache.write(json.dumps(outcome))
        if 'error' in outcome:
            raise AnsibleActionFail(outcome['error'])
        return outcome

    def _prepare(self, folder: str, builds: str, data: bytes) -> dict[str, Any]:
        tool = controllers(builds, 'have every device prepare the image itself: balena_migrate_prepare_on=device')
        argv = [tool, 'step', 'prepare-image', '--json', '--input', '-', '--work-dir', folder]
        if self._task.check_mode:
            argv.append('--check')

        answer = follow(lambda more: desk.run(argv + more, data), 'prepare-image', 'controller')
        said = document.decode(answer, 'prepare-image on the controller')
        if answer.rc != 0 or said.get('failed'):
            return {'error': 'the image on the controller: ' + document.reason(said)}
        facts = (said.get('facts') or {}).get('image')
        outcome = {'folder': folder, 'name': os.path.basename(folder), 'changed': bool(said.get('changed')), 'ready': facts is not None,
                   'image': os.path.join(folder, 'image.gz'), 'index': os.path.join(folder, 'image.index.json')}
        if facts is not None:
            outcome.update(sha256=facts['gzip_sha256'], size=facts['gzip_bytes'], raw_size=facts['raw_bytes'],
                           device_type=facts.get('device_type') or '')
        return outcome


def _name(image: dict[str, Any], balena: dict[str, Any], keys: str) -> str:
    """Name the folder by what the image is made of: a file as stat(2) sees it, or an address, and a device type."""
    source = image.get('path') or ''
    told = [json.dumps(image, sort_keys=True, default=str), str(balena.get('api_url') or '')]
    if source:
        seen = os.stat(source)
        told += [os.path.realpath(source), str(seen.st_size), str(seen.st_mtime_ns), str(seen.st_ino)]
    told.append(_device_type(keys) if not image.get('device_type') else '')
    digest = hashlib.sha256('\0'.join(told).encode('utf-8', 'surrogateescape')).hexdigest()[:16]
    label = os.path.basename(source) or 'image'
    return '%s-%s' % (''.join(c if c.isalnum() or c in '._-' else '_' for c in label)[:64], digest)


def _device_type(keys: str) -> str:
    """Return the device type that config.json is for: of one type there is one image, whatever else is in the file."""
    try:
        with open(keys, encoding='utf-8') as file:
            return str(json.load(file).get('deviceType') or '')
    except (OSError, ValueError, AttributeError):
        return ''
