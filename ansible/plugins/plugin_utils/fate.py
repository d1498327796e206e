"""What became of a device, in one word and one reason, from what was seen of it."""
from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

# The longest text that is kept of a device.
LENGTH = 1000
# Who is there is neither missed nor worked on.
FINISHED = ('migrated', 'online')
UNREACHABLE = 'see that it is on and in the network, that its address is right, and that ssh lets this controller in'
# What ssh or sudo says of a mistake of the operator's, and what helps.
REMEDIES = (
    ('host key verification failed', 'compare the fingerprint of the device\'s host key, then take it into known_hosts: log in once '
     'by ssh, or ssh-keyscan'),
    ('host identification has changed', 'another device, or a new system, answers there: find out which; then ssh-keygen -R with its '
     'address'),
    ('permission denied', 'ssh does not let this controller in: see ansible_user, and ansible_ssh_private_key_file or '
     'ansible_password'),
    ('missing sudo password', 'set ansible_become_password in a vaulted file, or ask for it with -K'),
    ('incorrect sudo password', 'mend ansible_become_password, or what you said to -K'),
    ('vault secrets', 'say the vault\'s password: --ask-vault-pass or --vault-password-file'),
)
OWN_FAULT = 'make room there, or name other folders in ANSIBLE_LOCAL_TEMP and ANSIBLE_SSH_CONTROL_PATH_DIR, and run the playbook again'
BACK = 'on the device, balena-migrate status names the log of the attempt; mend what it says and run the playbook again'
STAYED = 'reboot it by hand, or run the playbook again'
ASTRAY = ('see on the device\'s screen, or in its network, how far it came; the playbook, run again, looks again whether it is '
          'online in balena or back')


def remedy(text: str, otherwise: str) -> str:
    """Return what helps against what ssh, sudo or Ansible said."""
    return next((helps for sign, helps in REMEDIES if sign in text.lower()), otherwise)


class End(NamedTuple):
    """A fate, since when if that is known better than by now, and what helps."""

    fate: str
    reason: str
    since: str = ''
    hint: str = ''


def now() -> str:
    """Return the time in RFC 3339, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec='milliseconds').replace('+00:00', 'Z')


def line(text: Any) -> str:
    """Return a text of a device as one line of bounded length, without what would move a terminal's cursor."""
    return ''.join(c for c in ' '.join(str(text).split()) if c.isprintable())[:LENGTH]


def of_blockers(blocked: list[dict[str, str]]) -> str:
    """Name the first blocker, and how many more there are."""
    if not blocked:
        return 'it gave no reason'
    more = ' (and %d more)' % (len(blocked) - 1) if len(blocked) > 1 else ''
    return '%s: %s%s' % (blocked[0]['check'], blocked[0]['got'], more)


def of_steps(done: list[str], last: str, check: bool, skipped: list[str]) -> tuple[str, str]:
    """Judge a device all of whose steps went well so far. It is ready once precheck found nothing against it."""
    if 'precheck' not in done:
        return 'pending', 'not looked at yet'
    if check:
        return 'ready', 'can be migrated' + (', as far as check mode could look' if skipped else '')
    if last == 'reboot':
        return 'pending', 'reboots into the migration'
    if last == 'arm-boot':
        return 'ready', 'armed: the next boot is the migration'
    return 'ready', 'prepared as far as ' + last


def of_verdict(seen: dict[str, Any], rehearsal: bool) -> End:
    """Judge a device by what was seen of it after its reboot."""
    status = seen.get('status') or {}
    if seen['came_back'] and rehearsal and status.get('stage') == 'rehearsed':
        return End('ready', 'the rehearsal passed')
    if seen['came_back']:
        reason = status.get('reason') or status.get('msg') or 'no reason known'
        return End('back', '%s (stage: %s)' % (line(reason), line(status.get('stage') or 'unknown')), hint=BACK)
    if seen.get('online'):
        return End('online', line(seen['evidence']), line((seen.get('arrival') or {}).get('since') or ''))
    if not seen['left']:
        return End('failed', 'did not reboot: ' + line(seen['evidence']), hint=STAYED)
    if rehearsal:
        text = 'the old system should be back from the rehearsal: ' + line(seen['evidence'])
        return End('lost', text, seen.get('gone_since') or '', UNREACHABLE)
    if seen.get('lost'):
        return End('lost', line(seen['evidence']), seen.get('gone_since') or '', ASTRAY)
    return End('migrated', line(seen['evidence']), seen.get('gone_since') or '')


def boot_id(document: dict[str, Any]) -> str:
    """Return the boot that a device was told to leave."""
    return str(_at(document, 'facts', 'reboot').get('boot_id') or '')


def facts(document: dict[str, Any]) -> dict[str, Any]:
    """Return what matters of a result/1 for the report; what is not known is empty or 0."""
    host, image = _at(document, 'facts', 'host'), _at(document, 'facts', 'image')
    asked = _at(document, 'config', 'image')
    types = host.get('device_types') if isinstance(host.get('device_types'), list) else []
    texts = {
        'hostname': host.get('hostname'), 'os': _at(host, 'os').get('name'), 'os_id': _at(host, 'os').get('id'),
        'os_version': _at(host, 'os').get('version_id'), 'kernel': host.get('kernel_release'), 'arch': host.get('arch'),
        'firmware': host.get('firmware'), 'boot_method': host.get('boot_method'), 'disk': _at(host, 'disk').get('name'),
        'device_type': image.get('device_type') or asked.get('device_type') or ', '.join(map(str, types)),
        'disk_model': _at(host, 'disk').get('model'), 'image_version': asked.get('version'),
        'image_sha256': image.get('source_sha256') or asked.get('sha256'),
    }
    sizes = {
        'disk_bytes': _at(host, 'disk').get('size_bytes'), 'memory_bytes': _at(host, 'memory').get('total_bytes'),
        'memory_need_bytes': _at(host, 'memory').get('need_bytes'), 'write_kb_s': host.get('write_kb_s'),
        'image_bytes': image.get('raw_bytes'),
    }
    known: dict[str, Any] = {name: line(value or '') for name, value in texts.items()}
    known.update((name, value if isinstance(value, int) and value > 0 else 0) for name, value in sizes.items())
    return known


def _at(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return an object inside a document, empty where there is none."""
    for name in path:
        found = document.get(name)
        document = found if isinstance(found, dict) else {}
    return document
