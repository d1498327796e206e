"""The balena-migrate executable on the controller itself: what asks balena is run here, not on the devices.

Keys go to it by its environment or by a file, never by its arguments, which everybody on the controller can read.
"""
from __future__ import annotations

import os
import subprocess

from ansible_collections.balena_community.migrate.plugins.plugin_utils.failure import Failure
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer
from ansible_collections.balena_community.migrate.plugins.plugin_utils.tool import binaries, controllers

TOKEN = 'BALENA_API_TOKEN'


def run(given: str, argv: list[str], token: str | None) -> Answer:
    """Run the executable, of the folder that was given, to its end. A token takes the place of the environment's."""
    path = controllers(binaries(given), 'run "make dist" to get all')
    environment = dict(os.environ)
    if token is not None:
        environment[TOKEN] = token
    try:
        done = subprocess.run([path] + argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              encoding='utf-8', errors='replace')
    except OSError as error:
        raise Failure('run %s on the controller: %s' % (path, error)) from error
    return Answer(done.returncode, done.stdout, done.stderr)
