#!/bin/bash
# guest-tree.sh SUITE OUT [ARCH]: the root tree of a small Debian (bookworm or trixie) with kernel,
# initramfs-tools, GRUB for BIOS, systemd and sshd. No Python: a target needs none.
# ARCH is amd64, or i386 with the kernel for processors with PAE, for which bookworm is the last release; that one is of the
# release itself: what is tried does not depend on its updates. LAB_MIRROR names another Debian mirror.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
[ $# = 2 ] || [ $# = 3 ] || die "usage: ${0##*/} SUITE OUT [ARCH]"
need_root
suite=$1 out=$2 arch=${3:-amd64} mirror=${LAB_MIRROR:-}
case $suite-$arch in
bookworm-amd64 | trixie-amd64) kernel=linux-image-amd64 ;;
bookworm-i386) kernel=linux-image-686-pae mirror=${LAB_MIRROR:-http://deb.debian.org/debian} ;;
*) die "suite $suite for $arch is unknown: bookworm or trixie for amd64, bookworm for i386" ;;
esac

packages=$kernel,initramfs-tools,zstd,xz-utils,kmod,systemd-sysv,udev,dbus,grub-pc
packages+=,openssh-server,sudo,iproute2,procps,e2fsprogs,dosfstools,fdisk,less,ca-certificates

bootstrap() {
	local tree=$1 quiet=(--quiet)
	[ -z "${LAB_VERBOSE:-}" ] || quiet=()
	# grub-pc asks where to install: nowhere, guest-disk.sh writes the boot sectors.
	# shellcheck disable=SC2016 # $1 belongs to the hook's shell
	mmdebstrap --variant=minbase --mode=root --architectures="$arch" --skip=check/empty "${quiet[@]}" \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--essential-hook='printf "%s\n" "grub-pc grub-pc/install_devices multiselect" \
			"grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections' \
		--include="$packages" "$suite" "$tree" ${mirror:+"$mirror"} >&2
	[ -z "$(find "$tree/usr/bin" -name 'python*')" ] || die "the $suite tree has got a Python"
}

cache_build "$out" "$(cache_key "$suite" "$arch" "$mirror" "@$here/guest-tree.sh" "@$here/cache.sh")" bootstrap
