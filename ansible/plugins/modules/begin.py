# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: begin
short_description: Say whether a device is finished, on its way, or to be worked on
version_added: 1.1.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Reads what became of the device in earlier runs. One that is C(migrated) or C(online) is finished if a look at it agrees,
    that is if its old system does not answer. A device that was told to reboot when the playbook was interrupted is waited for.
  - It writes nothing, and a device of which nothing is known is not asked.
options:
  again:
    description: Take every device for one that is to be worked on.
    type: bool
    default: false
extends_documentation_fragment:
  - balena_community.migrate.tool
  - balena_community.migrate.results
attributes:
  check_mode:
    support: full
    description: It only looks.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: The look takes a minute at most.
'''

EXAMPLES = r'''
- name: See what became of the device before
  balena_community.migrate.begin:
    results: results
  become: true
  register: begun
'''

RETURN = r'''
finished:
  description: There is nothing left to do.
  type: bool
  returned: always
waiting:
  description: It was told to reboot, and nobody has seen yet what became of it.
  type: bool
  returned: always
old_boot_id:
  description: The boot that it was told to leave, for M(balena_community.migrate.wait). Empty unless I(waiting).
  type: str
  returned: always
since:
  description: When it was told, in seconds since the epoch. 0 unless I(waiting).
  type: int
  returned: always
fate:
  description: What the device's file says. Empty if there is none.
  type: str
  returned: always
'''
