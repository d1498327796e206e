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
  - It goes in pieces of 8 MiB. What a lost connection or another run leaves behind, C(.NAME.DIGEST.part) beside the destination, is
    gone on with. A file of its name never holds half of it.
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
  rate:
    description: KiB per second that the copy may take. 0 means no limit.
    type: int
    default: 0
extends_documentation_fragment:
  - balena_community.migrate.patience
  - balena_community.migrate.results
attributes:
  check_mode:
    support: full
    description: Says whether the file would be copied.
  diff_mode:
    support: full
    description: Shows size, digest and mode before and after, never the content.
  async:
    support: none
    description: A copy goes on where it was interrupted, but not by itself.
notes:
  - Needs sshd on the device and no Python. Without sha256sum and openssl there the file is copied every time.
  - The digest of a file of 16 MiB or more is kept beside it, in C(.NAME.sum), with size, times and inode.
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
resumed:
  description: Bytes that were there already of a copy that was interrupted.
  type: int
  returned: always
present:
  description: Whether the file is on the device now, with this content. It is not in check mode if it would be copied.
  type: bool
  returned: always
'''
