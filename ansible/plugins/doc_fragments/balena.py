"""Balena's API, and where the controller keeps what it is told there."""
from __future__ import annotations


class ModuleDocFragment:
    """Documentation of options, as plugin_utils/arguments.py has them."""

    DOCUMENTATION = r'''
options:
  token_file:
    description: File on the controller with an API key of a user, mode 0600 or encrypted with ansible-vault.
    type: str
    default: ''
  ca_file:
    description: File on the controller with certificates that vouch for the API beside those the system trusts, PEM.
    type: str
    default: ''
  registrations:
    description:
      - Folder on the controller in which registrations are kept. It holds keys. A relative one lies beside the inventory.
    type: str
    default: registrations
'''
