#!/bin/bash
# newos-image.sh TREE OUT.img [MIB]: a small image in the form of balenaOS for genericx86-64-ext, bootable
# by BIOS and EFI: MBR; p1 resin-boot FAT16, p2 resin-rootA, p3 resin-rootB, p4 extended, p5 resin-state,
# p6 resin-data, all ext4; everything on 4 MiB (features E20-E22, E31, E38). The kernel comes from
# a tree of guest-tree.sh, the system is the program in ../newos. 448 MiB, 40 of them don't compress.
# With MIB, rootB has that size and holds nothing but bytes that don't compress.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"
# shellcheck source=newos.sh
. "$here/newos.sh"
[ $# = 2 ] || [ $# = 3 ] || die "usage: ${0##*/} TREE OUT.img [MIB]"
need_root
command -v go >/dev/null || die "go is not in PATH ($PATH): under sudo, keep it by sudo env PATH=\"\$PATH\" ..."
tree=$(realpath "$1") out=$2 noise=${3:-}
export SOURCE_DATE_EPOCH=1700000000

boot=40 rootA=152 rootB=${noise:-152} state=20 data=64 # MiB; E22 has the sizes of the real one
layout

boot_files() {
	local dir=$1
	mkdir -p "$dir/system-connections" "$dir/grub" "$dir/EFI/BOOT"
	cp "$here/newos-boot/device-type.json" "$dir/"
	cp "$here/newos-boot/sample.ignore" "$dir/system-connections/resin-sample.ignore"
	cp "$here/newos-boot/grub.cfg" "$dir/grub/grub.cfg"
	cp "$here/newos-boot/grub.cfg" "$dir/EFI/BOOT/grub.cfg"
	grub-mkimage --format=x86_64-efi --prefix=/EFI/BOOT --output="$dir/EFI/BOOT/bootx64.efi" part_msdos part_gpt fat \
		ext2 search search_label normal configfile linux serial terminal echo boot
	echo "genericx86-64-ext lab image" >"$dir/image-version-info"
}

boot_partition() {
	local fs=$2.fat
	boot_files "$2"
	truncate -s "${boot}M" "$fs"
	mkfs.vfat --invariant -F 16 -n resin-boot "$fs" >"$fs.log" 2>&1 || die "$(cat "$fs.log")"
	MTOOLS_SKIP_CHECK=1 mcopy -s -i "$fs" "$2"/* ::/
	put "$1" "$p1" "$fs"
}

root_files() {
	local dir=$1
	mkdir -p "$dir/boot" "$dir/opt"
	cp "$tree"/boot/vmlinuz-* "$dir/boot/bzImage"
	initramfs "$dir/boot/initrd" amd64 virtio_pci virtio_blk virtio_net ahci ata_piix sd_mod nvme crc32c_generic ext4 vfat nls_cp437 nls_ascii efivarfs
	incompressible 0 40 "$dir/opt/payload.bin"
}

# incompressible IV MIB FILE: bytes that don't compress, and are the same in every build.
incompressible() {
	openssl enc -aes-128-ctr -nosalt -K ba1ea000ba1ea000ba1ea000ba1ea000 -iv "$1" -in /dev/zero 2>/dev/null |
		head -c "$2M" >"$3" || :
	[ "$(stat -c %s "$3")" = $(($2 << 20)) ] || die "$3 is not $2 MiB"
}

boot_code() {
	local grub=$tree/usr/lib/grub/i386-pc
	chroot "$tree" grub-mkimage --format=i386-pc --prefix='(,msdos1)/grub' biosdisk part_msdos fat ext2 \
		search search_label normal configfile linux serial terminal echo boot >"$2"
	[ "$(stat -c %s "$2")" -le $(((align << 20) - 512)) ] || die "GRUB's core image is too big"
	dd if="$grub/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
	dd if="$2" of="$1" bs=512 seek=1 conv=notrunc status=none
}

build() {
	local image=$1 dir=$1.d
	mkdir "$dir"
	partition_table "$image" e
	boot_partition "$image" "$dir/boot"
	root_files "$dir/root"
	ext4 "$image" "$p2" "$rootA" resin-rootA "$dir/root"
	if [ -n "$noise" ]; then
		incompressible 1 "$noise" "$dir/noise"
		put "$image" "$p3" "$dir/noise"
	else
		ext4 "$image" "$p3" "$rootB" resin-rootB
	fi
	ext4 "$image" "$p5" "$state" resin-state
	ext4 "$image" "$p6" "$data" resin-data
	boot_code "$image" "$dir/core.img"
	rm -r "$dir"
}

cache_build "$out" "$(cache_key "$tree" "$noise" "$(go env GOVERSION)" "$(grep '^golang.org/x/sys ' "$here/../../../go.sum")" \
	"@$here/../newos" "@$here/cache.sh" "@$here/newos.sh" "@$here/newos-image.sh" "@$here/newos-boot")" build
