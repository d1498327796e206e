#!/bin/bash
# controller.sh OUT: the root tree of a controller with the newest ansible-core that Debian has, that of unstable.
# LAB_MIRROR names another Debian mirror. It is built anew once a month; a mirror may lag behind what its lists are good for.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=../lab/build/cache.sh
. "$here/../lab/build/cache.sh"
[ $# = 1 ] || die "usage: ${0##*/} OUT"
need_root

bootstrap() {
	mmdebstrap --variant=minbase --mode=root --architectures=amd64 --skip=check/empty --quiet \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=ansible-core,openssh-client sid "$1" "${LAB_MIRROR:-http://deb.debian.org/debian}" >&2
	[ -x "$1/usr/bin/ansible-playbook" ] || die "the tree has got no ansible-playbook"
}

cache_build "$1" "$(cache_key "${LAB_MIRROR:-}" "$(date +%Y-%m)" "@$here/controller.sh" "@$here/../lab/build/cache.sh")" bootstrap
