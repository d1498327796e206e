"""What all actions of the collection have in common."""
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class Action(ActionBase):
    """An action that holds its arguments to their specification and tells a failure by its message alone."""

    # True would make and remove a folder on the device for every task: three round trips.
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    # What validate_argument_spec takes.
    ARGUMENTS: dict[str, Any] = {}

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Act, and return the task's result."""
        outcome = super().run(tmp, task_vars)
        try:
            outcome.update(self.act(self.validate_argument_spec(self.ARGUMENTS)[1], task_vars or {}))
        except AnsibleActionFail as error:
            # Until ansible-core 2.18 it brings a traceback, and people read "NoneType: None" first.
            error.result.pop('exception', None)
            raise
        return outcome

    def act(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do what the action is for, and return what goes into the task's result."""
        raise NotImplementedError
