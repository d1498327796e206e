"""Where the executable is, on the controller and on the device."""
from __future__ import annotations


class ModuleDocFragment:
    """Documentation of options, as plugin_utils/arguments.py has them."""

    DOCUMENTATION = r'''
options:
  work_dir:
    description: Folder of the migration on the device.
    type: str
    default: /var/lib/balena-migrate
  bin_dir:
    description: Folder on the device for the executable. Executables of other versions there are removed.
    type: str
    default: /var/lib/balena-migrate/bin
  binaries:
    description:
      - Folder on the controller with C(balena-migrate-linux-amd64), C(-386), C(-armv6), C(-armv7) and C(-arm64).
      - Empty means C(BALENA_MIGRATE_BINARIES) of the environment, else C(roles/migrate/files) of the collection, else
        C(dist) of the checkout the collection lies in.
    type: str
    default: ''
'''
