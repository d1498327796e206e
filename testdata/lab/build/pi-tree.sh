#!/bin/bash
# pi-tree.sh ARCH OUT: the unpacked packages of a small Debian 12 for a board with ARM processors, arm64 or armhf: kernel,
# busybox and dropbear. Nothing of it is run while it is built, so no emulator for programs is needed.
# LAB_MIRROR names another Debian mirror.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
[ $# = 2 ] || die "usage: ${0##*/} ARCH OUT"
need_root
arch=$1 out=$2
case $arch in
arm64) kernel=linux-image-arm64 ;;
armhf) kernel=linux-image-armmp ;;
*) die "architecture $arch is unknown: arm64 or armhf" ;;
esac

bootstrap() {
	local quiet=(--quiet)
	[ -z "${LAB_VERBOSE:-}" ] || quiet=()
	mmdebstrap --variant=extract --architectures="$arch" "${quiet[@]}" \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--include="busybox-static,dropbear-bin,$kernel" bookworm "$1" ${LAB_MIRROR:+"$LAB_MIRROR"} >&2
}

cache_build "$out" "$(cache_key "$arch" "${LAB_MIRROR:-}" "@$here/pi-tree.sh" "@$here/cache.sh")" bootstrap
