# Copyright: the balena-migrate authors
# Apache License 2.0 (see https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import (absolute_import, division, print_function)

__metaclass__ = type

DOCUMENTATION = r'''
---
module: image
short_description: Make an image ready to be flashed, once for all devices
version_added: 1.1.0
author:
  - The balena-migrate authors (@balena-community)
description:
  - Runs the step C(prepare-image) on the controller. The first host that asks does it, the others wait and take the result; later
    runs of the playbook find it done.
  - The image is what I(image) names, by path, address or version of balenaOS.
options:
  image:
    description: The section C(image) of the configuration, as C(balena-migrate schema config) describes it. Its C(path) is one of
      the controller.
    type: dict
    required: true
  balena:
    description: The section C(balena) of the configuration, for an image that is named by its version.
    type: dict
    default: {}
  config_json:
    description: The fleet's or device's config.json on the controller, for the device type. It may be encrypted with ansible-vault.
    type: str
    default: ''
  cache:
    description: Folder on the controller for what is made ready, with a folder for each image. A relative one lies beside the inventory.
    type: str
    default: prepared
  binaries:
    description: Folder on the controller with the executables, as for M(balena_community.migrate.step).
    type: str
    default: ''
extends_documentation_fragment:
  - balena_community.migrate.results
attributes:
  check_mode:
    support: full
    description: Looks at the image and makes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
  async:
    support: none
    description: It works on by itself if the playbook is interrupted.
'''

EXAMPLES = r'''
- name: Prepare the image on the controller
  balena_community.migrate.image:
    image:
      path: images/balena.img.zip
    config_json: config.json
  register: prepared
'''

RETURN = r'''
ready:
  description: Whether the image is there. It is not in check mode if it would be made.
  type: bool
  returned: always
folder:
  description: The folder of the image; I(name) is its last part.
  type: str
  returned: always
image:
  description: The prepared image.
  type: str
  returned: always
index:
  description: Its index.
  type: str
  returned: always
sha256:
  description: Digest of the prepared image.
  type: str
  returned: when ready
size:
  description: Size of the prepared image in bytes; I(raw_size) is that of the disk image.
  type: int
  returned: when ready
device_type:
  description: Device type of the image.
  type: str
  returned: when ready
'''
