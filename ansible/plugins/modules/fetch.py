# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: fetch
short_description: Fetch logs of a device that has no Python
version_added: 1.1.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Fetches files of the device into the folder I(HOST.files) of the results directory, for their owner alone, where they differ.
  - A file that the device does not have is no failure.
options:
  src:
    description: Absolute paths of the files on the device.
    type: list
    elements: str
    required: true
  max_mib:
    description: How much of a file is fetched, in MiB. Of a larger one it is the end.
    type: int
    default: 16
extends_documentation_fragment:
  - balena_community.migrate.patience
  - balena_community.migrate.results
attributes:
  check_mode:
    support: full
    description: Says whether a file would be fetched.
  diff_mode:
    support: none
    description: Logs are not shown.
  async:
    support: none
    description: A copy is bound to its connection.
'''

EXAMPLES = r'''
- name: Fetch how the attempt ended
  balena_community.migrate.fetch:
    src:
      - /var/lib/balena-migrate/outcome.json
    results: results
  become: true
'''

RETURN = r'''
files:
  description: The files on the controller.
  type: list
  elements: str
  returned: always
'''
