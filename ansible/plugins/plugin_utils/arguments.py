"""Arguments that several actions share."""
from __future__ import annotations

from typing import Any

RESULTS: dict[str, Any] = {'results': {'type': 'str', 'default': ''}}
# The device may come and go: seconds for which it is tried again.
PATIENCE: dict[str, Any] = {'connect_timeout': {'type': 'int', 'default': 0}}
# Where the executable is, on the controller and on the device.
TOOL: dict[str, Any] = {
    'work_dir': {'type': 'str', 'default': '/var/lib/balena-migrate'},
    'bin_dir': {'type': 'str', 'default': '/var/lib/balena-migrate/bin'},
    'binaries': {'type': 'str', 'default': ''},
}
