"""The controller's account of each device."""
from __future__ import annotations


class ModuleDocFragment:
    """Documentation of options, as plugin_utils/arguments.py has them."""

    DOCUMENTATION = r'''
options:
  results:
    description:
      - Folder on the controller in which what becomes of the device is kept, one JSON file per device, for C(balena-migrate
        report). A relative one lies beside the inventory. Empty means that nothing is kept.
    type: str
    default: ''
'''
