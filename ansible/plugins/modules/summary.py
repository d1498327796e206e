# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: summary
short_description: Say where the devices of the play stand
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Shows a table of the play's devices, those that need a person first, each with what became of it and why. It is read from
    the results directory, so no device is asked.
  - C(balena-migrate report) makes a web page, JSON, CSV and JUnit of the same directory.
options:
  results:
    description: Folder on the controller, as for M(balena_community.migrate.step).
    type: str
    default: ''
  once:
    description: Show the table only if it is not the last one that this run of ansible-playbook has shown.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: Nothing is run on a device.
'''

EXAMPLES = r'''
- name: Say where the devices stand
  balena_community.migrate.summary:
    results: results
  run_once: true
'''

RETURN = r'''
counts:
  description: Devices per fate.
  type: dict
  returned: always
  sample: {ready: 18, blocked: 2}
'''
