# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: push
short_description: Copy a file to a device that has no Python
version_added: 1.0.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Copies a file of the controller, of any size, where it differs by size, SHA-256 or mode.
  - It is uploaded into a private folder of the login user, then moved to its place by the user of I(become), checked
    and complete. A file of that name never holds half of it.
options:
  src:
    description:
      - The file on the controller. A relative path is looked for in the current folder, beside the inventory, and
        where Ansible looks for files.
      - A file encrypted with ansible-vault is decrypted.
    type: str
    required: true
  dest:
    description: Absolute path of the file on the device. Folders that are missing are made, for their owner alone.
    type: str
    required: true
  mode:
    description: Mode of the file, octal.
    type: str
    default: '0600'
  results:
    description:
      - Folder on the controller in which what becomes of the device is kept, one JSON file per device, for C(balena-migrate
        report). A relative one lies beside the inventory. Empty means that nothing is kept.
    type: str
    default: ''
attributes:
  check_mode:
    support: full
    description: Says whether the file would be copied.
  diff_mode:
    support: full
    description: Shows size, digest and mode before and after, never the content.
  async:
    support: none
    description: A copy is bound to its connection.
notes:
  - Needs sshd on the device and no Python. Without sha256sum and openssl there the file is copied every time.
  - Needs room for the file in Ansible's remote temporary folder (C(ansible_remote_tmp)) as well, if that lies in
    another file system than the destination.
'''

EXAMPLES = r'''
- name: Copy the image
  balena_community.migrate.push:
    src: images/balena.img.gz
    dest: /var/lib/balena-migrate/input/balena.img.gz
  become: true
'''

RETURN = r'''
dest:
  description: The path on the device.
  type: str
  returned: always
size:
  description: Size of the file in bytes.
  type: int
  returned: always
sha256:
  description: Digest of the file.
  type: str
  returned: always
mode:
  description: Mode of the file.
  type: str
  returned: always
present:
  description: Whether the file is on the device now, with this content. It is not in check mode if it would be copied.
  type: bool
  returned: always
'''
