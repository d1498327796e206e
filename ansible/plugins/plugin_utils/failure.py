"""A failure that its message tells all of."""
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail


class Failure(AnsibleActionFail):
    """Fails a task. Until ansible-core 2.18 AnsibleActionFail adds a traceback, and people read "NoneType: None" first."""

    def __init__(self, message: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(message, result=result)
        self.result.pop('exception', None)
