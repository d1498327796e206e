#!/bin/bash
# NetworkManager reads the connection files of a directory, in a mount, network and process namespace of its own with a
# message bus of its own: nothing of the machine is touched. Prints each connection's settings, secrets too, and then
# the log. Usage: judge.sh DIRECTORY, as root.
set -euo pipefail
if [ "${2:-}" != inside ]; then
	exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$1" inside
fi
exec </dev/null
mount --make-rprivate /
connections=$(mktemp -d)
trap 'rm -rf "$connections"' EXIT
cp -p "$1"/* "$connections"
for place in /etc/NetworkManager /var/lib/NetworkManager /run; do
	mount -t tmpfs tmpfs "$place"
done
mkdir /run/dbus
mkdir -m 700 /etc/NetworkManager/system-connections
# Owner and mode as on balenaOS, whose service copies them from a file system without either.
install -o root -g root -m 600 "$connections"/* /etc/NetworkManager/system-connections/
cat >/etc/NetworkManager/NetworkManager.conf <<'X'
[main]
plugins=keyfile
no-auto-default=*
[logging]
level=INFO
domains=ALL
X
dbus-daemon --system --nofork --nopidfile 2>/dev/null &
for _ in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.05; done
NetworkManager --debug --log-level=INFO >/run/log 2>&1 &
for _ in $(seq 200); do nmcli general status >/dev/null 2>&1 && break; sleep 0.05; done
# On a busy machine nmcli may give up on the secrets, with a word on standard error and none in its exit code.
show() {
	for _ in $(seq 20); do
		nmcli -t -e no -s connection show uuid "$1" </dev/null >/run/shown 2>/run/said
		[ -s /run/said ] || break
		sleep 0.2
	done
	cat /run/said >&2
	cat /run/shown
}
nmcli -t -e no -f FILENAME,UUID connection show | while IFS= read -r line; do
	case $line in /etc/NetworkManager/system-connections/*) ;; *) continue ;; esac
	echo "@file $(basename "${line%:*}")"
	show "${line##*:}"
done
echo "@log"
cat /run/log
