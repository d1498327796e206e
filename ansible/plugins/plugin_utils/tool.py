"""The balena-migrate executable on the device: found, installed once under its digest, run.

Which build a device needs is known only once it was asked, but the name must be known before that, so that one
command both looks for the executable and runs it. So the name carries a digest over all builds of the set.
"""
from __future__ import annotations

import hashlib
import os
import platform
import posixpath
import shlex

from ansible.errors import AnsibleActionFail

from ansible_collections.balena_community.migrate.plugins.plugin_utils.digest import sha256
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer, Cargo, Remote

# uname -m to Go's name of the architecture. A 32-bit userland on a 64-bit kernel runs the 64-bit build: it is static.
MACHINES = {
    'x86_64': 'amd64', 'amd64': 'amd64', 'i386': '386', 'i486': '386', 'i586': '386', 'i686': '386',
    'armv6l': 'armv6', 'armv7l': 'armv7', 'armv8l': 'armv7', 'aarch64': 'arm64', 'arm64': 'arm64',
}
PREFIX = 'balena-migrate-linux-'
ENVIRONMENT = 'BALENA_MIGRATE_BINARIES'
# Exit code of the shell, not of the executable: it is not installed.
ABSENT = 97
# And this: it is not the boot that was meant.
OTHER_BOOT = 98
GUARD = 'read -r boot </proc/sys/kernel/random/boot_id; if [ "$boot" != %s ]; then cat >/dev/null; exit %d; fi; '


def binaries(given: str = '') -> str:
    """Return the controller's folder with the builds: the given one, the environment's, the collection's, dist/."""
    collection = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', '..'))
    named = given or os.environ.get(ENVIRONMENT, '')
    places = [named] if named else [
        os.path.join(collection, 'roles', 'migrate', 'files'),
        os.path.join(os.path.dirname(collection), 'dist'),
    ]
    for place in map(os.path.expanduser, places):
        if builds(place):
            return place
    raise AnsibleActionFail(
        'no balena-migrate executables on the controller: looked for %s{%s} in %s; run "make dist" in the checkout, or '
        'name their folder in balena_migrate_binaries or %s'
        % (PREFIX, ','.join(sorted(set(MACHINES.values()))), ' and '.join(places), ENVIRONMENT))


def builds(folder: str) -> dict[str, str]:
    """Return the executables of a folder by architecture."""
    paths = {arch: os.path.join(folder, PREFIX + arch) for arch in set(MACHINES.values())}
    return {arch: path for arch, path in paths.items() if os.path.isfile(path)}


def controllers(folder: str, otherwise: str) -> str:
    """Return the executable that the controller itself can run; otherwise says what helps where there is none."""
    machine = platform.machine()
    path = builds(folder).get(MACHINES.get(machine, ''))
    if platform.system() != 'Linux' or path is None:
        raise AnsibleActionFail(
            'this controller is a %s on %s, and %s has executables for %s only; %s' % (
                machine, platform.system(), folder, ', '.join(sorted(builds(folder))), otherwise))
    return path


class Tool:
    """The executable on one device."""

    def __init__(self, remote: Remote, folder: str, bin_dir: str) -> None:
        self._remote = remote
        self._folder = folder
        self._builds = builds(folder)
        self._bin_dir = bin_dir
        self.path = posixpath.join(bin_dir, 'balena-migrate-' + self._set_digest())
        self.installed = False

    def run(self, argv: list[str], data: bytes, boot_id: str = '') -> Answer:
        """Run the executable with data on its standard input, in this boot if one is given; install it first where it is missing."""
        guard = GUARD % (shlex.quote(boot_id), OTHER_BOOT) if boot_id else ''
        answer = self._remote.run(guard + self.command(argv), data)
        if answer.rc == ABSENT:
            self._install(answer.out.strip().rpartition('\n')[2])
            answer = self._remote.run(guard + self.command(argv), data)
        # A shell's test -x tells of noexec as well, so there the executable seems to be missing for ever.
        if answer.rc in (ABSENT, 126):
            raise AnsibleActionFail(
                '%s on the device can\'t be executed: %s; if its file system is mounted noexec, choose another folder '
                'with balena_migrate_bin_dir' % (self.path, answer.tail()))
        return answer

    def command(self, argv: list[str]) -> str:
        """Return the shell script that runs the executable, or tells the machine's kind where it is missing."""
        path = shlex.quote(self.path)
        # Standard input has to be read to its end, or ssh may lose the answer over a broken pipe.
        return 'if [ -x %s ]; then exec %s %s; fi; cat >/dev/null; uname -m; exit %d' % (
            path, path, ' '.join(map(shlex.quote, argv)), ABSENT)

    def _set_digest(self) -> str:
        digest = hashlib.sha256()
        for arch in sorted(self._builds):
            digest.update(('%s %s\n' % (arch, sha256(self._builds[arch]))).encode())
        return digest.hexdigest()[:16]

    def _install(self, machine: str) -> None:
        arch = MACHINES.get(machine)
        if arch is None:
            raise AnsibleActionFail(
                'the device is of the kind "%s" (uname -m), but balena-migrate exists for %s only'
                % (machine, ', '.join(sorted(MACHINES))))
        local = self._builds.get(arch)
        if local is None:
            raise AnsibleActionFail(
                'the device is a %s and needs %s%s, but %s has only builds for %s; run "make dist" to get all'
                % (machine, PREFIX, arch, self._folder, ', '.join(sorted(self._builds))))
        self._remote.place(Cargo(local, self.path, '0755', sha256(local)))
        self.installed = True
        self._tidy()

    def _tidy(self) -> None:
        """Remove executables of other versions, and let bin/balena-migrate name this one for people."""
        name = shlex.quote(posixpath.basename(self.path))
        done = self._remote.run(
            'cd %s || exit; for old in balena-migrate-*; do [ "$old" = %s ] || rm -f "$old"; done; '
            'ln -s %s .link.$$ && mv -f .link.$$ balena-migrate' % (shlex.quote(self._bin_dir), name, name))
        if done.rc != 0:
            raise AnsibleActionFail('name the new executable in %s on the device: %s' % (self._bin_dir, done.tail()))
