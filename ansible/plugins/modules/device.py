# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: device
short_description: Register a device in balena, remove an unused registration
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Runs C(balena-migrate device) on the controller. The device itself is not asked.
  - A device is registered once, by its name in the inventory, however often it is run. One that was deleted in balena is
    registered anew.
  - The key of balena's API comes from the environment of ansible-playbook (C(BALENA_API_TOKEN)) or from I(token_file). It is in
    no argument list and in no result.
options:
  state:
    description:
      - C(registered) registers the device unless it is, and writes its own config.json.
      - C(removed) removes a registration that no device has ever used, and refuses to remove another.
    type: str
    required: true
    choices: [registered, removed]
  fleet:
    description: Number or slug (org/name) of the fleet. Needed to register.
    type: str
    default: ''
  device_type:
    description: Device type to register it as. Empty means the fleet's.
    type: str
    default: ''
  os_version:
    description: Version of balenaOS that has to arrive. Empty means any.
    type: str
    default: ''
  hostname:
    description: Host name for config.json. Empty means none.
    type: str
    default: ''
  api_url:
    description: Address of the API. Of a registered device the one it was registered with counts.
    type: str
    default: https://api.balena-cloud.com
  binaries:
    description: Folder on the controller with the executables, as for M(balena_community.migrate.step).
    type: str
    default: ''
extends_documentation_fragment:
  - balena_community.migrate.balena
  - balena_community.migrate.results
attributes:
  check_mode:
    support: partial
    description: Says whether the device would be registered or removed.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: Nothing is run on the device.
'''

EXAMPLES = r'''
- name: Register the device
  balena_community.migrate.device:
    state: registered
    fleet: my-org/gateways
    token_file: balena-token.vault
  register: registration

- name: Remove its registration, as it did not migrate
  balena_community.migrate.device:
    state: removed
    token_file: balena-token.vault
'''

RETURN = r'''
uuid:
  description: The device's uuid.
  type: str
  returned: always
device_id:
  description: The device's number in balena.
  type: int
  returned: always
config_json:
  description: Path of the device's own config.json on the controller. Empty if it has none.
  type: str
  returned: always
msg:
  description: All of it in a line.
  type: str
  returned: always
'''
