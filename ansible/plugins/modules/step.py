# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: step
short_description: Run one step of balena-migrate on a device
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Runs one step of a migration to balenaOS on the device, in one ssh round trip, with nothing secret in an argument
    list and nothing but sshd and sudo needed there.
  - Where the executable is missing it is installed first, once, under a name that carries its digest. That is done in
    check mode too, as it is the tool that looks, and no part of the device's configuration.
  - A step that takes minutes outlives its connection. Where such a step is under way, for this playbook or an earlier one, the task
    waits for it to end; one that was begun for the same configuration is not begun again.
  - In check mode the step is run with C(--check) and changes nothing; in diff mode with C(--diff).
options:
  name:
    description: The step. They are to be run in this order.
    type: str
    required: true
    choices: [precheck, prepare-image, collect-wifi, backup, build-initramfs, arm-boot, reboot]
  config:
    description:
      - The configuration, as C(balena-migrate schema config) describes it. Members left out have their defaults.
      - Paths are absolute paths on the device.
    type: dict
    default: {}
  facts:
    description: The I(facts) of the step before.
    type: dict
    default: {}
  awaited:
    description:
      - Files that are missing on the device only because check mode did not copy them. While there are any, a step
        that fails or is blocked in check mode ends in a warning.
    type: list
    elements: str
    default: []
  of_role:
    description:
      - Take all but I(name) from the variables of the role C(migrate), and I(facts) from the step before, as the role does.
      - Variables that are no templates cost the controller nothing, where templates in the arguments of a task are
        compiled for each device and step.
    type: bool
    default: false
    version_added: 1.1.0
extends_documentation_fragment:
  - balena_community.migrate.tool
  - balena_community.migrate.patience
  - balena_community.migrate.results
attributes:
  check_mode:
    support: full
    description: The executable is installed, nothing else is written.
  diff_mode:
    support: full
    description: Shows files before and after, without secrets.
  async:
    support: none
    description: A step that takes long works on by itself, and the task waits for it and shows how far it is.
notes:
  - Needs sshd on the device, root rights by I(become), and no Python.
  - C(requiretty) in sudoers has to be off for the user, as for Ansible's own pipelining.
'''

EXAMPLES = r'''
- name: Look whether the device can be migrated
  balena_community.migrate.step:
    name: precheck
    config:
      image:
        path: /data/balena.img.gz
      balena:
        config_json: /data/config.json
  become: true
  register: result

- name: Prepare the image
  balena_community.migrate.step:
    name: prepare-image
    config:
      image:
        path: /data/balena.img.gz
      balena:
        config_json: /data/config.json
    facts: "{{ result.facts }}"
  become: true
'''

RETURN = r'''
status:
  description: How the step ended, one of converged, blocked or failed.
  type: str
  returned: always
  sample: converged
rc:
  description: Exit code of balena-migrate, 0 converged, 1 failed, 2 bad input, 3 blocked, 4 interrupted.
  type: int
  returned: always
  sample: 0
changes:
  description: What was done, or in check mode would be.
  type: list
  elements: dict
  returned: always
  sample: [{action: write, target: /boot/grub/custom.cfg}]
blocked:
  description: All that keeps the step from being done on this device.
  type: list
  elements: dict
  returned: always
  sample: [{check: arch, got: riscv64, want: x86_64, remedy: this machine can not be migrated yet}]
facts:
  description: All that the steps so far found out. It goes into the next step.
  type: dict
  returned: on success
config:
  description: The configuration with all its defaults.
  type: dict
  returned: on success
installed:
  description: Whether the executable had to be copied to the device.
  type: bool
  returned: always
at:
  description: When the answer arrived, in seconds since the epoch, by the controller's clock.
  type: int
  returned: always
log:
  description: The last lines of the log.
  type: list
  elements: str
  returned: on failure, but not when blocked
'''
