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
# shellcheck source=board-newos.sh
. "$here/board-newos.sh"
[ $# = 2 ] || die "usage: ${0##*/} TREE OUT"
need_root
tree=$(realpath "$1") out=$2
case $(echo "$tree"/boot/vmlinuz-*) in
*-arm64) goarch=arm64 type=generic-aarch64 arch=aarch64 ;;
*-armmp) goarch=arm type=beaglebone-black arch=armv7hf ;;
*) die "$1 is no tree of pi-tree.sh" ;;
esac

boot_files() {
	mkdir "$1/extlinux"
	cp "$tree"/boot/vmlinuz-* "$1/kernel"
	initramfs "$1/newos.img" "$goarch" virtio_pci virtio_blk ext4 vfat nls_cp437 nls_ascii
	printf 'label balena\n\tlinux /kernel\n\tinitrd /newos.img\n\tappend console=ttyAMA0 quiet\n' >"$1/extlinux/extlinux.conf"
}

make_image "$here/uboot-newos-image.sh"
