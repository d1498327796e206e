"""Arguments that several actions share."""
from __future__ import annotations

from typing import Any

RESULTS: dict[str, Any] = {'results': {'type': 'str', 'default': ''}}
# The device may come and go: seconds for which it is tried again.
PATIENCE: dict[str, Any] = {'connect_timeout': {'type': 'int', 'default': 0}}
# Balena's API, and where the controller keeps what it is told there.
BALENA: dict[str, Any] = {
    'token_file': {'type': 'str', 'default': ''},
    'ca_file': {'type': 'str', 'default': ''},
    'registrations': {'type': 'str', 'default': 'registrations'},
}
# Where the executable is, on the controller and on the device.
TOOL: dict[str, Any] = {
    'work_dir': {'type': 'str', 'default': '/var/lib/balena-migrate'},
    'bin_dir': {'type': 'str', 'default': '/var/lib/balena-migrate/bin'},
    'binaries': {'type': 'str', 'default': ''},
}
