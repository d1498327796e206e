"""How long a device that comes and goes is tried again."""
from __future__ import annotations


class ModuleDocFragment:
    """Documentation of options, as plugin_utils/arguments.py has them."""

    DOCUMENTATION = r'''
options:
  connect_timeout:
    description:
      - Seconds for which a device that can't be reached, or is lost in between, is tried again, with longer and longer
        pauses. A refused login and another host key are not tried again.
    type: int
    default: 0
'''
