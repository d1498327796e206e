#!/bin/bash
# layered-disk.sh TREE OUT LAYOUT: a bootable disk out of a tree of layered-tree.sh whose root is on no plain ext4;
# 3 GiB, sparse, raw, MBR, GRUB for BIOS. What is in it is the guest of guest-disk.sh.
#   lvm    ext4 on LVM and a separate /boot, as Debian's installer divides a disk with LVM
#   btrfs  one btrfs with the root in the subvolume @rootfs, as Debian's installer makes it, /boot within
#   xfs    one xfs, /boot within
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

uuid=1ab00000-0b00-4000-8000-000000000001 boot_uuid=1ab00000-0b00-4000-8000-000000000002
disk_mib=3072 boot_mib=256
# With LVM its own header takes the first MiB of the partition, then come extents of 4 MiB.
head_mib=1 extent_mib=4

# layout_sizes NAME: where things lie on the disk, in MiB: the partition of the root, and the file system in it.
layout_sizes() {
	layout=$1 part_mib=1 boot_start=
	case $layout in
	lvm) boot_start=1 part_mib=$((1 + boot_mib)) ;;
	btrfs | xfs) ;;
	*) die "layout $layout is unknown: lvm, btrfs or xfs" ;;
	esac
	size_mib=$((disk_mib - part_mib - 1)) start_mib=$part_mib fs_mib=$size_mib
	if [ "$layout" = lvm ]; then
		start_mib=$((part_mib + head_mib)) fs_mib=$(((size_mib - head_mib) / extent_mib * extent_mib))
	fi
}

build() {
	local image=$1
	truncate -s "${disk_mib}M" "$image"
	{
		echo "label: dos"
		[ -z "$boot_start" ] || echo "start=${boot_start}MiB, size=${boot_mib}MiB, type=83, bootable"
		echo "start=${part_mib}MiB, size=${size_mib}MiB, type=$([ "$layout" = lvm ] && echo 8e || echo 83)"
	} | sfdisk --quiet "$image"
	mkdir "$image.mnt"
	unshare --mount --propagation private "$0" --populate "$tree" "$image" "$layout" >&2
	rmdir "$image.mnt"
	boot_code "$image"
}

# populate IMAGE: in a mount namespace of its own, so that nothing stays mounted whatever happens. update-grub writes no
# Linux entry for a root on /dev/loopN: the same device is mounted under another name.
populate() {
	local image=$1 root=$1.mnt loop
	mount -t tmpfs -o mode=0755 tmpfs "$root"
	mkdir -p "$root/dev/disk/by-uuid" "$root/fs"
	cp -a /dev/null /dev/zero /dev/urandom /dev/tty "$root/dev/"
	trap 'detach "$root/dev"' EXIT
	[ "$layout" != lvm ] || volume_group "$image"
	device "$image" 1 "$uuid" "$start_mib" "$fs_mib"
	"format_$layout" "$root/dev/labdisk1"
	[ -z "$boot_start" ] || device "$image" 2 "$boot_uuid" "$boot_start" "$boot_mib"
	mount --bind "$root/dev" /dev
	trap 'detach /dev' EXIT
	"mount_$layout" "$root/fs"
	cp -a "$tree/." "$root/fs/"
	"fstab_$layout" >"$root/fs/etc/fstab"
	[ -z "$boot_start" ] || separate_boot "$root/fs"
	mount --bind /dev "$root/fs/dev"
	mount -t proc proc "$root/fs/proc"
	mount -t sysfs -o ro sysfs "$root/fs/sys"
	"$here/guest-inside.sh" "$root/fs" "$key.pub" bookworm bios
	[ "$layout" != lvm ] || sed -i "s,root=UUID=$uuid,root=/dev/mapper/lab-root," "$root/fs/boot/grub/grub.cfg"
	umount "$root/fs/dev" "$root/fs/proc" "$root/fs/sys"
	umount --recursive "$root/fs"
}

detach() {
	local loop
	for loop in "$1"/loop*; do
		losetup --detach "$loop" 2>/dev/null || true # of another failure
	done
}

# device IMAGE N UUID START SIZE: /dev/labdiskN in $root.
device() {
	local loop
	loop=$(losetup --find --show --offset $(($4 << 20)) --sizelimit $(($5 << 20)) "$1")
	cp -a "$loop" "$root/dev/"
	cp -a "$loop" "$root/dev/labdisk$2"
	ln -s "../../labdisk$2" "$root/dev/disk/by-uuid/$3"
}

# volume_group IMAGE: LVM's header with one volume of all extents in their order, made without the kernel's device mapper,
# whose names this machine's users share.
volume_group() {
	local loop conf
	loop=$(losetup --find --show --offset $((part_mib << 20)) --sizelimit $((size_mib << 20)) "$1")
	conf="devices{filter=[\"a|^$loop\$|\",\"r|.*|\"] global_filter=[\"a|^$loop\$|\",\"r|.*|\"] use_devicesfile=0 obtain_device_list_from_udev=0}"
	conf+=" backup{backup=0 archive=0} activation{udev_sync=0 udev_rules=0 monitoring=0} global{event_activation=0}"
	pvcreate --config "$conf" --driverloaded n --quiet --dataalignment "${head_mib}m" "$loop"
	vgcreate --config "$conf" --driverloaded n --quiet --physicalextentsize "${extent_mib}m" lab "$loop"
	lvcreate --config "$conf" --driverloaded n --quiet --activate n --zero n --wipesignatures n --extents $((fs_mib / extent_mib)) --name root lab
	local place
	place=$(lvs --config "$conf" --driverloaded n --noheadings -o pe_start,seg_pe_ranges --units m --nosuffix lab/root 2>/dev/null ||
		pvs --config "$conf" --driverloaded n --noheadings -o pe_start,seg_pe_ranges --units m --nosuffix "$loop")
	losetup --detach "$loop"
	case $place in
	*1.00*:0-$((fs_mib / extent_mib - 1))*) ;;
	*) die "the volume lies at $place, expected it at ${head_mib} MiB in one piece" ;;
	esac
}

format_lvm() { MKE2FS_CONFIG=$tree/etc/mke2fs.conf mke2fs -q -F -t ext4 -L rootfs -U "$uuid" -E lazy_itable_init=1 "$1"; }
format_btrfs() { mkfs.btrfs --quiet --label rootfs --uuid "$uuid" "$1"; }
format_xfs() { mkfs.xfs -q -L rootfs -m "uuid=$uuid" "$1"; }

mount_lvm() { mount -t ext4 /dev/labdisk1 "$1"; }
mount_xfs() { mount -t xfs /dev/labdisk1 "$1"; }
mount_btrfs() {
	mount -t btrfs /dev/labdisk1 "$1"
	btrfs subvolume create "$1/@rootfs" >&2
	umount "$1"
	mount -t btrfs -o subvol=@rootfs /dev/labdisk1 "$1"
}

fstab_lvm() { echo "/dev/mapper/lab-root / ext4 errors=remount-ro 0 1"; }
fstab_btrfs() { echo "UUID=$uuid / btrfs defaults,subvol=@rootfs 0 0"; }
fstab_xfs() { echo "UUID=$uuid / xfs defaults 0 0"; }

# separate_boot ROOT: moves what lies in /boot to a file system of its own.
separate_boot() {
	MKE2FS_CONFIG=$tree/etc/mke2fs.conf mke2fs -q -F -t ext4 -L boot -U "$boot_uuid" /dev/labdisk2
	mount -t ext4 /dev/labdisk2 "$1/mnt"
	cp -a "$1"/boot/. "$1/mnt/"
	find "$1/boot" -mindepth 1 -delete
	umount "$1/mnt"
	mount -t ext4 /dev/labdisk2 "$1/boot"
	echo "UUID=$boot_uuid /boot ext4 defaults 0 2" >>"$1/etc/fstab"
}

# boot_code IMAGE: GRUB in the boot sector and the gap behind it, as grub-install does.
boot_code() {
	local prefix='(,msdos1)/boot/grub' module=$layout
	case $layout in
	lvm) prefix='(,msdos1)/grub' module=ext2 ;;
	btrfs) prefix='(,msdos1)/@rootfs/boot/grub' ;;
	esac
	chroot "$tree" grub-mkimage --format=i386-pc --prefix="$prefix" biosdisk part_msdos "$module" >"$1.core"
	[ "$(stat -c %s "$1.core")" -le $(((1 << 20) - 512)) ] || die "GRUB's core image is too big"
	dd if="$tree/usr/lib/grub/i386-pc/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
	dd if="$1.core" of="$1" bs=512 seek=1 conv=notrunc status=none
	rm "$1.core"
}

need_root
key=$(lab_dir)/ssh-key
if [ "${1:-}" = --populate ]; then
	tree=$2
	layout_sizes "$4"
	populate "$3"
	exit
fi
[ $# = 3 ] || die "usage: ${0##*/} TREE OUT LAYOUT"
tree=$(realpath "$1") out=$2
layout_sizes "$3"
[ -x "$tree/usr/sbin/lvm" ] || [ -x "$tree/sbin/lvm" ] || die "$1 is no tree of layered-tree.sh"
ssh_key
cache_build "$out" "$(cache_key "$tree" "$layout" "@$here/cache.sh" "@$here/layered-disk.sh" "@$here/guest-inside.sh" \
	"@$here/guest" "@$key.pub")" build
