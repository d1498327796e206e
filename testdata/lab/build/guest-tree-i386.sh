#!/bin/bash
# guest-tree-i386.sh SUITE OUT: guest-tree.sh for 32 bits: Debian i386 (bookworm is the last release with a kernel for
# it) with the kernel for processors with PAE, GRUB for BIOS, systemd and sshd, without Python.
# Only of the release itself: what is tried does not depend on its updates. LAB_MIRROR names another Debian mirror.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
[ $# = 2 ] || die "usage: ${0##*/} SUITE OUT"
need_root
suite=$1 out=$2
[ "$suite" = bookworm ] || die "suite $suite has no kernel for i386: bookworm"

packages=linux-image-686-pae,initramfs-tools,zstd,xz-utils,kmod,systemd-sysv,udev,dbus,grub-pc
packages+=,openssh-server,sudo,iproute2,procps,e2fsprogs,dosfstools,fdisk,less,ca-certificates

bootstrap() {
	local tree=$1 quiet=(--quiet)
	[ -z "${LAB_VERBOSE:-}" ] || quiet=()
	# grub-pc asks where to install: nowhere, guest-disk.sh writes the boot sectors.
	# shellcheck disable=SC2016 # $1 belongs to the hook's shell
	mmdebstrap --variant=minbase --mode=root --architectures=i386 --skip=check/empty "${quiet[@]}" \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--essential-hook='printf "%s\n" "grub-pc grub-pc/install_devices multiselect" \
			"grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections' \
		--include="$packages" "$suite" "$tree" "${LAB_MIRROR:-http://deb.debian.org/debian}" >&2
	[ -z "$(find "$tree/usr/bin" -name 'python*')" ] || die "the $suite tree has got a Python"
}

cache_build "$out" "$(cache_key "$suite" "${LAB_MIRROR:-}" "@$here/guest-tree-i386.sh" "@$here/cache.sh")" bootstrap
