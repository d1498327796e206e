# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: gate
short_description: Say whether too many devices failed
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Compares how many devices dropped out of the play, failed or unreachable, with how many may. Devices that finished are
    not counted.
  - Unlike I(max_fail_percentage) of a play it counts devices that failed in a block with an I(always) section, and
    unreachable ones. It stops nothing by itself; C(meta) with C(end_play) does.
options:
  max_fail_percentage:
    description: How many of hundred devices of a batch may fail. With 0 none may.
    type: float
    default: 0.0
  results:
    description: Folder on the controller, as for M(balena_community.migrate.step). Empty means that whoever is out failed.
    type: str
    default: ''
attributes:
  check_mode:
    support: full
    description: It only counts.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: Nothing is run on a device.
'''

EXAMPLES = r'''
- name: Count the devices that failed
  balena_community.migrate.gate:
    max_fail_percentage: 5
    results: results
  run_once: true
  register: gate

- name: Stop all devices
  ansible.builtin.meta: end_play
  when: gate.stop
'''

RETURN = r'''
stop:
  description: Whether more devices failed than may.
  type: bool
  returned: always
failed_devices:
  description: How many failed since the play began.
  type: int
  returned: always
failed_hosts:
  description: Their names.
  type: list
  elements: str
  returned: always
devices:
  description: How many these and those still in the batch are.
  type: int
  returned: always
'''
