"""Writes what each task of each host came to, one JSON object per line, for the tests to read."""
from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = '''
name: record
type: notification
short_description: One JSON object per task and host
description: Appends to the file that RECORD names.
'''


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'notification'
    CALLBACK_NAME = 'record'

    def _write(self, state, result):
        line = {'state': state, 'host': result._host.get_name(), 'task': result._task.get_name(),
                'result': result._result}
        with open(os.environ['RECORD'], 'a') as record:
            record.write(json.dumps(line, default=str) + '\n')

    def v2_runner_on_ok(self, result):
        self._write('ok', result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write('failed', result)

    def v2_runner_on_unreachable(self, result):
        self._write('unreachable', result)

    def v2_runner_on_skipped(self, result):
        self._write('skipped', result)
