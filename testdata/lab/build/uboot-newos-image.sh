#!/bin/bash
# uboot-newos-image.sh TREE OUT.img: a small image in the form of balenaOS for a board that U-Boot starts: MBR; p1
# resin-boot FAT32 with extlinux.conf, kernel and the program in ../newos as initramfs, p2 resin-rootA, p3 resin-rootB, p4
# extended, p5 resin-state, p6 resin-data (features E20-E22, E38). The kernel comes from a tree of pi-tree.sh. 320 MiB.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
# shellcheck source=newos.sh
. "$here/newos.sh"
[ $# = 2 ] || die "usage: ${0##*/} TREE OUT"
need_root
tree=$(realpath "$1") out=$2
export SOURCE_DATE_EPOCH=1700000000
case $(echo "$tree"/boot/vmlinuz-*) in
*-arm64) goarch=arm64 type=generic-aarch64 arch=aarch64 ;;
*-armmp) goarch=arm type=beaglebone-black arch=armv7hf ;;
*) die "$1 is no tree of pi-tree.sh" ;;
esac
boot=100 rootA=60 rootB=60 state=20 data=64
layout

boot_partition() {
	local dir=$2 fs=$2.fat
	mkdir -p "$dir/system-connections" "$dir/extlinux"
	cp "$tree"/boot/vmlinuz-* "$dir/kernel"
	initramfs "$dir/newos.img" "$goarch" virtio_pci virtio_blk ext4 vfat nls_cp437 nls_ascii
	printf 'label balena\n\tlinux /kernel\n\tinitrd /newos.img\n\tappend console=ttyAMA0 quiet\n' >"$dir/extlinux/extlinux.conf"
	printf '{"slug":"%s","version":1,"arch":"%s","state":"RELEASED"}\n' "$type" "$arch" >"$dir/device-type.json"
	cp "$here/newos-boot/sample.ignore" "$dir/system-connections/resin-sample.ignore"
	truncate -s "${boot}M" "$fs"
	mkfs.vfat --invariant -F 32 -n resin-boot "$fs" >"$fs.log" 2>&1 || die "$(cat "$fs.log")"
	MTOOLS_SKIP_CHECK=1 mcopy -s -i "$fs" "$dir"/* ::/
	put "$1" "$p1" "$fs"
}

build() {
	local image=$1 dir=$1.d
	mkdir "$dir"
	partition_table "$image" c
	boot_partition "$image" "$dir/boot"
	ext4 "$image" "$p2" "$rootA" resin-rootA
	ext4 "$image" "$p3" "$rootB" resin-rootB
	ext4 "$image" "$p5" "$state" resin-state
	ext4 "$image" "$p6" "$data" resin-data
	rm -r "$dir"
}

cache_build "$out" "$(cache_key "$tree" "$(go env GOVERSION)" "$(grep '^golang.org/x/sys ' "$here/../../../go.sum")" \
	"@$here/../newos" "@$here/cache.sh" "@$here/newos.sh" "@$here/uboot-newos-image.sh" "@$here/newos-boot")" build
