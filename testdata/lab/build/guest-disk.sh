#!/bin/bash
# guest-disk.sh TREE OUT [LAYOUT]: a bootable disk out of a tree of guest-tree.sh; 3 GiB, sparse, raw.
#   bios      MBR, GRUB for BIOS, one ext4 root
#   efi       GPT, GRUB for EFI on an EFI system partition, ext4 root
#   efi-boot  the same with a separate /boot, ext4
# Root and the user pi log in with the lab's ssh key. The tree is not changed: all is done in the file
# systems on the new disk.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

uuid=1ab00000-0b00-4000-8000-000000000001 boot_uuid=1ab00000-0b00-4000-8000-000000000002
esp_id=1AB0-0E51
disk_mib=3072 esp_mib=64 boot_mib=256

# layout_sizes NAME: where things lie on the disk, in MiB; boot_start is empty without a separate /boot.
layout_sizes() {
	layout=$1 start_mib=1 boot_start= # 1 MiB in front for the table and GRUB's core image
	case $layout in
	bios) ;;
	efi) start_mib=$((1 + esp_mib)) ;;
	efi-boot) boot_start=$((1 + esp_mib)) start_mib=$((1 + esp_mib + boot_mib)) ;;
	*) die "layout $layout is unknown: bios, efi or efi-boot" ;;
	esac
	fs_mib=$((disk_mib - start_mib - 1))
}

# populate IMAGE: in a mount namespace of its own, so that nothing stays mounted whatever happens.
populate() {
	local image=$1 root=$1.mnt suite
	suite=$(sed -n 's/^VERSION_CODENAME=//p' "$tree/etc/os-release")
	mount -t tmpfs -o mode=0755 tmpfs "$root"
	mkdir -p "$root/dev/disk/by-uuid" "$root/fs"
	cp -a /dev/null /dev/zero /dev/urandom /dev/tty "$root/dev/"
	volume "$image" 1 "$uuid" "$start_mib" "$fs_mib"
	[ -z "$boot_start" ] || volume "$image" 2 "$boot_uuid" "$boot_start" "$boot_mib"
	mount --bind "$root/dev" /dev
	mount -t ext4 /dev/labdisk1 "$root/fs"
	echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >"$root/fs/etc/fstab"
	[ -z "$boot_start" ] || separate_boot "$root/fs"
	local loop
	for loop in /dev/loop*; do
		losetup --detach "$loop" # takes effect with the last umount
		rm "$loop"
	done
	mount --bind /dev "$root/fs/dev"
	mount -t proc proc "$root/fs/proc"
	mount -t sysfs -o ro sysfs "$root/fs/sys"
	"$here/guest-inside.sh" "$root/fs" "$key.pub" "$suite" "$layout"
	[ "$layout" = bios ] || echo "UUID=$esp_id /boot/efi vfat umask=0077 0 1" >>"$root/fs/etc/fstab"
	umount "$root/fs/dev" "$root/fs/proc" "$root/fs/sys"
	umount --recursive "$root/fs"
}

# volume IMAGE N UUID START SIZE: /dev/labdiskN in $root. update-grub writes no Linux entry for a root on
# /dev/loopN. It takes the name from mountinfo, so the same device is mounted under another name.
volume() {
	local loop
	loop=$(losetup --find --show --offset $(($4 << 20)) --sizelimit $(($5 << 20)) "$1")
	cp -a "$loop" "$root/dev/"
	cp -a "$loop" "$root/dev/labdisk$2"
	ln -s "../../labdisk$2" "$root/dev/disk/by-uuid/$3"
}

# separate_boot ROOT: moves what lies in /boot to a file system of its own.
separate_boot() {
	mount -t ext4 /dev/labdisk2 "$1/mnt"
	cp -a "$1"/boot/. "$1/mnt/"
	find "$1/boot" -mindepth 1 -delete
	umount "$1/mnt"
	mount -t ext4 /dev/labdisk2 "$1/boot"
	echo "UUID=$boot_uuid /boot ext4 defaults 0 2" >>"$1/etc/fstab"
}

# ext4 IMAGE START SIZE UUID LABEL [TREE]
ext4() {
	MKE2FS_CONFIG=$tree/etc/mke2fs.conf mke2fs -q -F -t ext4 -L "$5" -U "$4" \
		-E "offset=$(($2 << 20)),lazy_itable_init=1" ${6:+-d "$6"} "$1" "${3}M"
}

build() {
	local image=$1
	truncate -s "${disk_mib}M" "$image"
	partition_table | sfdisk --quiet "$image"
	ext4 "$image" "$start_mib" "$fs_mib" "$uuid" rootfs "$tree"
	[ -z "$boot_start" ] || ext4 "$image" "$boot_start" "$boot_mib" "$boot_uuid" boot
	mkdir "$image.mnt"
	unshare --mount --propagation private "$0" --populate "$tree" "$image" "$layout" >&2
	rmdir "$image.mnt"
	if [ "$layout" = bios ]; then boot_code "$image"; else efi_partition "$image"; fi
}

partition_table() {
	if [ "$layout" = bios ]; then
		echo "label: dos"
		echo "start=${start_mib}MiB, size=${fs_mib}MiB, type=83, bootable"
		return
	fi
	echo "label: gpt"
	echo "start=1MiB, size=${esp_mib}MiB, type=uefi"
	[ -z "$boot_start" ] || echo "start=${boot_start}MiB, size=${boot_mib}MiB, type=linux"
	echo "start=${start_mib}MiB, size=${fs_mib}MiB, type=linux"
}

boot_code() {
	chroot "$tree" grub-mkimage --format=i386-pc --prefix='(,msdos1)/boot/grub' \
		biosdisk part_msdos ext2 >"$1.core"
	[ "$(stat -c %s "$1.core")" -le $(((start_mib << 20) - 512)) ] || die "GRUB's core image is too big"
	dd if="$tree/usr/lib/grub/i386-pc/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
	dd if="$1.core" of="$1" bs=512 seek=1 conv=notrunc status=none
	rm "$1.core"
}

# efi_partition IMAGE: what grub-install of Debian leaves on it: GRUB under EFI/debian and, as the debconf
# question grub2/force_efi_extra_removable offers, under the removable path, with a stub of a configuration.
efi_partition() {
	local dir=$1.esp fs=$1.fat where=/boot/grub fsid=$uuid
	[ -z "$boot_start" ] || where=/grub fsid=$boot_uuid
	mkdir -p "$dir/EFI/debian" "$dir/EFI/BOOT"
	grub-mkimage --format=x86_64-efi --prefix=/EFI/debian --output="$dir/EFI/debian/grubx64.efi" \
		part_gpt part_msdos fat ext2 search_fs_uuid normal configfile
	cp "$dir/EFI/debian/grubx64.efi" "$dir/EFI/BOOT/bootx64.efi"
	# shellcheck disable=SC2016 # GRUB's variables, not the shell's
	printf 'search.fs_uuid %s root\nset prefix=($root)%s\nconfigfile $prefix/grub.cfg\n' "$fsid" "$where" >"$dir/EFI/debian/grub.cfg"
	truncate -s "${esp_mib}M" "$fs"
	mkfs.vfat --invariant -F 32 -i "${esp_id/-/}" -n EFI "$fs" >"$fs.log" 2>&1 || die "$(cat "$fs.log")"
	MTOOLS_SKIP_CHECK=1 mcopy -s -i "$fs" "$dir"/* ::/
	dd if="$fs" of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
	rm -r "$dir" "$fs" "$fs.log"
}

need_root
key=$(lab_dir)/ssh-key
if [ "${1:-}" = --populate ]; then
	tree=$2
	layout_sizes "$4"
	populate "$3"
	exit
fi
[ $# = 2 ] || [ $# = 3 ] || die "usage: ${0##*/} TREE OUT [LAYOUT]"
tree=$(realpath "$1") out=$2
layout_sizes "${3:-bios}"
[ -x "$tree/usr/sbin/update-grub" ] || die "$1 is no tree of guest-tree.sh"
ssh_key
cache_build "$out" "$(cache_key "$tree" "$layout" "@$here/cache.sh" "@$here/guest-disk.sh" "@$here/guest-inside.sh" \
	"@$here/guest" "@$key.pub")" build
