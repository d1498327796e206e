"""The balena-migrate executable on the controller itself: what asks balena is run here, not on the devices.

Keys go to it by its environment or by a file, never by its arguments, which everybody on the controller can read.
"""
from __future__ import annotations

import os
import platform
import subprocess

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import MACHINES, binaries, builds

TOKEN = 'BALENA_API_TOKEN'


def executable(given: str) -> str:
    """Return the path of the build for the controller."""
    folder = binaries(given)
    arch = MACHINES.get(platform.machine(), platform.machine())
    path = builds(folder).get(arch)
    if path is None:
        raise AnsibleActionFail(
            'the controller is a %s, but %s has only builds for %s; run "make dist" to get all'
            % (platform.machine(), folder, ', '.join(sorted(builds(folder)))))
    return path


def run(argv: list[str], token: str | None) -> Answer:
    """Run the executable to its end. A token takes the place of the environment's."""
    environment = dict(os.environ)
    if token is not None:
        environment[TOKEN] = token
    try:
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, encoding='utf-8',
                              errors='replace')
    except OSError as error:
        raise AnsibleActionFail('run %s on the controller: %s' % (argv[0], error)) from error
    return Answer(done.returncode, done.stdout, done.stderr)
