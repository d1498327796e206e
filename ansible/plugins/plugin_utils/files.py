"""Files of the controller that people name."""
from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


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
        raise AnsibleActionFail('%s is not on the controller: %s' % (src, error)) from error
    if not os.path.isfile(found):
        raise AnsibleActionFail('%s is not a file' % found)
    return found
