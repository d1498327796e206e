#!/bin/bash
# target.sh OUT: the root tree of a device as Ansible meets it: Debian 12 with sshd and sudo, without Python.
# Two accounts log in by key, both named "canary" as password: free (sudo without a password) and asked (with one).
# LAB_MIRROR names another Debian mirror.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=../lab/build/cache.sh
. "$here/../lab/build/cache.sh"
[ $# = 1 ] || die "usage: ${0##*/} OUT"
need_root

bootstrap() {
	local tree=$1
	mmdebstrap --variant=minbase --mode=root --architectures=amd64 --skip=check/empty --quiet \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=openssh-server,sudo bookworm "$tree" ${LAB_MIRROR:+"$LAB_MIRROR"} >&2
	[ -z "$(find "$tree/usr/bin" -name 'python*')" ] || die "the tree has got a Python"
	chroot "$tree" useradd -m -s /bin/sh free
	chroot "$tree" useradd -m -s /bin/sh asked
	printf '%s:canary\n' free asked | chroot "$tree" chpasswd
	printf 'free ALL=(ALL) NOPASSWD: ALL\nasked ALL=(ALL) ALL\n' >"$tree/etc/sudoers.d/accounts"
	chmod 0440 "$tree/etc/sudoers.d/accounts"
	mkdir -p "$tree/run/sshd"
	rm -f "$tree"/etc/ssh/ssh_host_*
}

cache_build "$1" "$(cache_key "${LAB_MIRROR:-}" "@$here/target.sh" "@$here/../lab/build/cache.sh")" bootstrap
