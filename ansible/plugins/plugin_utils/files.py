"""Files of the controller that people name."""
from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.balena_community.migrate.plugins.plugin_utils.results import beside


def find(action: ActionBase, src: str, task_vars: dict[str, Any]) -> str:
    """Find a file as people mean it: from where they are, from their inventory, or as Ansible looks for files."""
    src = os.path.expanduser(src)
    for folder in _places(task_vars):
        if os.path.isfile(os.path.join(folder, src)):
            return os.path.join(folder, src)
    try:
        found = action._find_needle('files', src)
    except AnsibleError as error:
        raise AnsibleActionFail(_absent(src, task_vars)) from error
    if not os.path.isfile(found):
        raise AnsibleActionFail('%s is not a file' % found)
    return found


def _absent(src: str, task_vars: dict[str, Any]) -> str:
    """Say that a file is not there, without the ten folders of the collection that Ansible looks into as well."""
    if os.path.isabs(src):
        return '%s is not on the controller; mend its path' % src
    return '%s is not on the controller: looked in %s; mend its path, which is relative to one of these' % (
        src, ' and '.join(dict.fromkeys(_places(task_vars))))


def _places(task_vars: dict[str, Any]) -> tuple[str, str]:
    return os.getcwd(), beside(task_vars, '').rstrip('/')
