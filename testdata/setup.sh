#!/bin/bash
# Installs what the tests and the demo need on a bare Debian with Go. Does nothing, without network and without root,
# when all of it is there.
set -euo pipefail
cd "$(dirname "$0")"
packages=(
	ansible-core ansible-lint python3-voluptuous # the playbook, its lint, validate-modules
	openssh-server sudo mmdebstrap      # the target without Python
	chromium chromium-driver fonts-dejavu-core # the report's page, as a person uses it
	shellcheck jq file make git ca-certificates gcc libc6-dev # lint, pipes, the race detector
	network-manager dbus wpasupplicant util-linux # judges of connection files, in namespaces
	bmap-tools # image write beside other tools (make bench)
	fdisk e2fsprogs dosfstools xfsprogs btrfs-progs mtools zip xz-utils zstd bzip2 gzip pigz tar # images made by tests
	grub-common grub-pc-bin         # boot.img and core.img as an operator makes them
	busybox acl libcap2-bin rsync   # backups unpacked and compared
)
# balena's own SDK, whose requests ours are compared with. Other sources' node brings npm along, and conflicts with Debian's.
command -v npm >/dev/null || packages+=(nodejs npm)
missing=()
for package in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
	[ "$(id -u)" = 0 ] || { echo "setup: needs root to install ${missing[*]}: run it through sudo" >&2; exit 1; }
	echo "setup: installing ${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	if [[ " ${missing[*]} " == *" network-manager "* ]]; then
		# Installed for the tests, these two must not take over the network of the machine: their services never start.
		mkdir -p /etc/systemd/system
		for unit in NetworkManager.service wpa_supplicant.service; do
			[ -e "/etc/systemd/system/$unit" ] || ln -s /dev/null "/etc/systemd/system/$unit"
		done
	fi
	apt-get -qq -o Acquire::Retries=3 update
	apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${missing[@]}" >&2
fi
exec lab/build/install.sh
