#!/bin/bash
# pi-tree.sh ARCH OUT [PACKAGE]: the unpacked packages of a small Debian 12 for a board with ARM processors, arm64 or armhf: kernel,
# busybox and dropbear, and PACKAGE with what it depends on. Nothing of it is run while it is built, so no emulator for programs is needed.
# LAB_MIRROR names another Debian mirror. Of the release only main is taken: its indices never change, while those of
# updates and security were seen out of step with their signatures for hours on mirrors of the rarer architectures.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
[ $# = 2 ] || [ $# = 3 ] || die "usage: ${0##*/} ARCH OUT [PACKAGE]"
need_root
arch=$1 out=$2 package=${3:-}
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
		--include="busybox-static,dropbear-bin,$kernel${package:+,$package}" bookworm "$1" \
		"deb ${LAB_MIRROR:-http://deb.debian.org/debian} bookworm main" >&2
}

cache_build "$out" "$(cache_key "$arch" "$package" "${LAB_MIRROR:-}" "@$here/pi-tree.sh" "@$here/cache.sh")" bootstrap
