#!/bin/bash
# pi-newos-image.sh TREE OUT.img: a small image in the form of balenaOS for a Raspberry Pi: MBR; p1 resin-boot FAT32 with
# config.txt, kernel and the program in ../newos as initramfs, p2 resin-rootA, p3 resin-rootB, p4 extended, p5 resin-state,
# p6 resin-data (features E20-E22, E31, E38). The kernel comes from a tree of pi-tree.sh. 320 MiB.
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
*-arm64) goarch=arm64 kernel=kernel8.img type=raspberrypi4-64 arch=aarch64 ;;
*-armmp) goarch=arm kernel=kernel7.img type=raspberry-pi2 arch=armv7hf ;;
*) die "$1 is no tree of pi-tree.sh" ;;
esac

boot_files() {
	cp "$tree"/boot/vmlinuz-* "$1/$kernel"
	initramfs "$1/newos.img" "$goarch" sdhci_pci mmc_block virtio_blk ext4 vfat nls_cp437 nls_ascii
	printf 'kernel=%s\ninitramfs newos.img followkernel\ncmdline=cmdline.txt\n' "$kernel" >"$1/config.txt"
	echo "console=ttyAMA0 quiet" >"$1/cmdline.txt"
}

make_image "$here/pi-newos-image.sh"
