"""The results directory on the controller: one JSON file per device, for its owner alone."""
from __future__ import annotations

import json
import os
import tempfile
from typing import Any
from urllib.parse import quote

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

NAME = 'device-report/1'
# File names have 255 bytes at most, and a few are needed for the ending.
LENGTH = 200


def beside(task_vars: dict[str, Any], folder: str) -> str:
    """Return the path of a folder of the controller: a relative one lies beside the inventory, where that is a file."""
    inventory = str(task_vars.get('inventory_dir') or '')  # "None" for hosts that are named on the command line
    return os.path.join(inventory if os.path.isabs(inventory) else os.getcwd(), os.path.expanduser(folder))


def host_of(action: ActionBase, task_vars: dict[str, Any]) -> str:
    """Return the name of a task's device, as the inventory has it."""
    return str(task_vars.get('inventory_hostname') or action._play_context.remote_addr)


class Results:
    """The directory. A relative one lies beside the inventory, or in the current folder where there is no inventory file."""

    def __init__(self, results: str, task_vars: dict[str, Any]) -> None:
        self.folder = beside(task_vars, results)

    def path(self, host: str) -> str:
        """Return the file of a host. Whatever its name has, the file lies in the directory and is not hidden."""
        name = quote(host, safe='')
        name = '%2E' + name[1:] if name.startswith('.') else name
        return os.path.join(self.folder, name[:LENGTH] + '.json')

    def load(self, host: str) -> dict[str, Any] | None:
        """Return the report of a host, None where there is none. A damaged one is set aside, never overwritten."""
        path = self.path(host)
        try:
            with open(path, encoding='utf-8') as file:
                report = json.load(file)
            if report['schema'] == NAME and report['host'] == host and report['attempts'][-1]['steps'] is not None:
                return report
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            pass
        Display().warning('%s is no report of %s: set aside as %s.damaged' % (path, host, path))
        os.replace(path, path + '.damaged')
        return None

    def save(self, host: str, report: dict[str, Any], sync: bool) -> None:
        """Write a report at once or not at all; sync also makes it outlive a loss of power."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        handle, new = tempfile.mkstemp(prefix='.new-', dir=self.folder)  # mode 0600
        try:
            with os.fdopen(handle, 'w', encoding='utf-8') as file:
                # At once and without an indent, or Python's own slow encoder does it: most of what a step cost beside ssh.
                file.write(json.dumps(report) + '\n')
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(new, self.path(host))
        except BaseException:
            os.unlink(new)
            raise
