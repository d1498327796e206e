# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: wait
short_description: Wait for what becomes of a device after its reboot into the migration
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Connects anew again and again, until the old system is back in another boot, something else answers at the device's
    address, or the time is over.
  - A device that is registered in balena is looked for there as well, by its heartbeat and the version it runs. That it is
    online ends the wait; that nothing, or something else, answers at its address does not.
  - Balena that can't be asked ends no wait. It is warned of, and asked again.
  - It judges nothing. A device that is back or that did not reboot is no failure of this task.
  - No look takes longer than a minute, whatever hangs.
options:
  old_boot_id:
    description: The boot that the device is leaving, C(facts.reboot.boot_id) of the step reboot.
    type: str
    required: true
  since:
    description:
      - When the reboot was ordered, I(at) of the step reboot. I(timeout) counts
        from then, so that hosts whose turn comes late do not wait for long. 0 means now.
    type: int
    default: 0
  timeout:
    description: Seconds after which a device that does not answer has left for good, or with I(registered) is lost.
    type: int
    default: 1800
  interval:
    description: Seconds between two looks.
    type: int
    default: 5
  settle:
    description: Seconds for which the login has to be refused before that counts as another system.
    type: int
    default: 120
  registered:
    description: Whether the device was registered by M(balena_community.migrate.device), so that balena can be asked for it.
    type: bool
    default: false
  balena_interval:
    description: Seconds of the first pause between two looks at balena. The pauses grow to a minute.
    type: int
    default: 10
extends_documentation_fragment:
  - balena_community.migrate.tool
  - balena_community.migrate.balena
  - balena_community.migrate.results
attributes:
  check_mode:
    support: none
    description: Skipped, as check mode does not reboot.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: The controller waits, not the device.
'''

EXAMPLES = r'''
- name: Wait for what becomes of the device
  balena_community.migrate.wait:
    old_boot_id: "{{ result.facts.reboot.boot_id }}"
    since: "{{ result.at }}"
  become: true
  register: fate
'''

RETURN = r'''
came_back:
  description: The old system answers, in another boot.
  type: bool
  returned: always
left:
  description: The old system does not answer any more, or something else does.
  type: bool
  returned: always
online:
  description: Balena says that the device is online on its new system.
  type: bool
  returned: always
lost:
  description: The device is registered, it left its old system, and is not online in balena.
  type: bool
  returned: always
arrival:
  description: What balena said last of a registered device, as C(balena-migrate device wait) writes it. Empty if it said nothing.
  type: dict
  returned: always
evidence:
  description: What that is concluded from.
  type: str
  returned: always
gone_since:
  description: When the device was first seen not to answer, or another system in its place, RFC 3339. Empty if it never was.
  type: str
  returned: always
boot_id:
  description: The boot that answered last.
  type: str
  returned: always
status:
  description: What C(balena-migrate status) says on the old system that is back. Empty otherwise.
  type: dict
  returned: always
waited:
  description: How long it took, in seconds.
  type: int
  returned: always
'''
