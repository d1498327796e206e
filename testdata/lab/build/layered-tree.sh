#!/bin/bash
# layered-tree.sh TREE OUT: a tree of guest-tree.sh with LVM and btrfs added, which the initramfs then has too.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

# extend OUT: in a mount namespace of its own, so that nothing stays mounted whatever happens.
extend() {
	cp -a --reflink=auto "$base" "$1"
	unshare --mount --propagation private "$0" --inside "$1" >&2
}

inside() {
	local tree=$1
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d" # no service is started
	chmod 0755 "$tree/usr/sbin/policy-rc.d"
	rm -f "$tree/etc/resolv.conf"
	cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
	mount --rbind /dev "$tree/dev"
	mount -t proc proc "$tree/proc"
	mount -t sysfs -o ro sysfs "$tree/sys"
	export DEBIAN_FRONTEND=noninteractive
	chroot "$tree" apt-get -qq -o Acquire::Retries=3 -o Acquire::Languages=none update
	chroot "$tree" apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io install --yes --no-install-recommends lvm2 btrfs-progs
	chroot "$tree" apt-get -qq clean
	rm -rf "$tree"/var/lib/apt/lists/*
	rm "$tree/usr/sbin/policy-rc.d" "$tree/etc/resolv.conf"
	[ -z "$(find "$tree/usr/bin" -name 'python*')" ] || die "the tree has got a Python"
}

need_root
if [ "${1:-}" = --inside ]; then
	inside "$2"
	exit
fi
[ $# = 2 ] || die "usage: ${0##*/} TREE OUT"
base=$(realpath "$1")
cache_build "$2" "$(cache_key "$base" "@$here/cache.sh" "@$here/layered-tree.sh")" extend
