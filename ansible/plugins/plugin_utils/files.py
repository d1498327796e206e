"""Files of the controller that people name."""
from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.balena_community.migrate.plugins.plugin_utils.failure import Failure


def find(action: ActionBase, src: str, task_vars: dict[str, Any]) -> str:
    """Find a file as people mean it: from where they are, from their inventory, or as Ansible looks for files."""
    src = os.path.expanduser(src)
    for folder in (os.getcwd(), task_vars.get('inventory_dir')):
        path = os.path.join(folder or '', src)
        if folder and os.path.isfile(path):
            return path
    try:
        found = action._find_needle('files', src)
    except AnsibleError as error:
        raise Failure(absent(src, task_vars)) from error
    if not os.path.isfile(found):
        raise Failure('%s is not a file' % found)
    return found


def absent(src: str, task_vars: dict[str, Any]) -> str:
    """Say that a file is not there, without the ten folders of the collection that Ansible looks into as well."""
    if os.path.isabs(src):
        return '%s is not on the controller; mend its path' % src
    inventory = str(task_vars.get('inventory_dir') or '')
    places = [os.getcwd(), inventory if os.path.isabs(inventory) else os.getcwd()]
    return '%s is not on the controller: looked in %s; mend its path, which is relative to one of these' % (
        src, ' and '.join(dict.fromkeys(places)))
