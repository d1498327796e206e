"""The balena-migrate executable on the controller itself: what asks balena, and prepares images for all.

Keys go to it by its environment or by a file, never by its arguments, which everybody on the controller can read.
"""
from __future__ import annotations

import os
import subprocess

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer

TOKEN = 'BALENA_API_TOKEN'


def run(argv: list[str], data: bytes = b'', token: str | None = None) -> Answer:
    """Run the executable to its end, with data on its standard input. A token takes the place of the environment's."""
    environment = dict(os.environ)
    if token is not None:
        environment[TOKEN] = token
    try:
        done = subprocess.run(argv, env=environment, input=data, capture_output=True, check=False)
    except OSError as error:
        raise AnsibleActionFail('run %s on the controller: %s' % (argv[0], error)) from error
    return Answer(done.returncode, done.stdout.decode('utf-8', 'replace'), done.stderr.decode('utf-8', 'replace'))
