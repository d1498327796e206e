#!/bin/bash
# uboot-disk.sh CARD OUT WAY: the disk of a board that U-Boot starts, out of a card of pi-disk.sh: the same system, but MBR
# with one bootable ext4, in whose /boot are kernel, initramfs and what leads U-Boot there. WAY is extlinux, for a
# configuration as Debian's u-boot-update writes it, or uenv, for that of a BeagleBone's image. 2 GiB, sparse, raw.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

disk_mib=2048 root_start=4
uuid=0b007000-0b00-4000-8000-0000000000a1
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC

# offset NUMBER: where a partition of the card begins, in bytes.
offset() { echo $(($(sfdisk --dump "$card" | sed -n "s/.*$1 : start= *\([0-9]*\),.*/\1/p") * 512)); }

# unpack ROOT: the card's system, with kernel and initramfs where Debian's packages have them.
unpack() {
	local root=$1 boot
	boot=$(offset 1)
	mkdir "$root"
	debugfs -R "rdump / $root" "$card?offset=$(offset 2)" 2>/dev/null
	rm -r "$root/lost+found"
	release=$(basename "$root"/lib/modules/*)
	MTOOLS_SKIP_CHECK=1 mcopy -i "$card@@$boot" ::/kernel[78].img "$root/boot/vmlinuz-$release"
	MTOOLS_SKIP_CHECK=1 mcopy -i "$card@@$boot" ::/initramfs[78] "$root/boot/initrd.img-$release"
	rmdir "$root/boot/firmware"
	echo "/dev/vda1 / ext4 defaults,noatime 0 1" >"$root/etc/fstab"
	sed -i '/mmcblk0p1/d; s/lab-pi/lab-uboot/' "$root/etc/rcS"
	echo lab-uboot >"$root/etc/hostname"
}

# extlinux ROOT, uenv ROOT: what leads U-Boot to the system.
extlinux() {
	mkdir "$1/boot/extlinux"
	sed "s/RELEASE/$release/g" "$here/uboot/extlinux.conf" >"$1/boot/extlinux/extlinux.conf"
}

uenv() {
	local board=$1/etc/board
	mkdir "$board"
	printf 'TI AM335x BeagleBone Black\0' >"$board/model"
	printf 'ti,am335x-bone-black\0ti,am335x-bone\0ti,am33xx\0' >"$board/compatible"
	sed -i "/^mount -o remount,rw/r $here/uboot/board.rc" "$1/etc/rcS"
	grep -q /etc/board "$1/etc/rcS" || die "no place for board.rc in rcS"
	sed "s/RELEASE/$release/g" "$here/uboot/uEnv.txt" >"$1/boot/uEnv.txt"
}

build() {
	local image=$1 root=$1.root
	truncate -s "${disk_mib}M" "$image"
	printf 'label: dos\nlabel-id: 0x0b007a0a\n1: start=%dMiB, type=83, bootable\n' "$root_start" | sfdisk --quiet "$image"
	unpack "$root"
	"$way" "$root"
	mke2fs -q -F -t ext4 -L rootfs -U "$uuid" -E "offset=$((root_start << 20)),lazy_itable_init=1" -d "$root" "$image" "$((disk_mib - root_start))M"
	rm -r "$root"
}

[ $# = 3 ] || die "usage: ${0##*/} CARD OUT extlinux|uenv"
need_root
card=$(realpath "$1") out=$2 way=$3
case $way in
extlinux | uenv) ;;
*) die "$way is no way to start: extlinux or uenv" ;;
esac
cache_build "$out" "$(cache_key "$card" "$way" "@$here/cache.sh" "@$here/uboot-disk.sh" "@$here/uboot")" build
