#!/bin/bash
# guest-disk.sh TREE OUT: a bootable disk (MBR, GRUB for BIOS, one ext4 root) out of a tree of
# guest-tree.sh; 3 GiB, sparse, raw. Root and the user pi log in with the lab's ssh key.
# The tree is not changed: all is done in the file system on the new disk.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

uuid=1ab00000-0b00-4000-8000-000000000001
disk_mib=3072 start_mib=1 # 1 MiB in front for GRUB's core image
fs_mib=$((disk_mib - start_mib - 1))

# populate IMAGE: in a mount namespace of its own, so that nothing stays mounted whatever happens.
populate() {
	local image=$1 root=$1.mnt suite loop
	suite=$(sed -n 's/^VERSION_CODENAME=//p' "$tree/etc/os-release")
	loop=$(losetup --find --show --offset $((start_mib << 20)) --sizelimit $((fs_mib << 20)) "$image")
	# update-grub writes no Linux entry for a root on /dev/loopN. It takes the name from
	# mountinfo, so the same device is mounted under another name.
	mount -t tmpfs -o mode=0755 tmpfs "$root"
	mkdir -p "$root/dev/disk/by-uuid" "$root/fs"
	cp -a /dev/null /dev/zero /dev/urandom /dev/tty "$root/dev/"
	cp -a "$loop" "$root/dev/"
	cp -a "$loop" "$root/dev/labdisk1"
	ln -s ../../labdisk1 "$root/dev/disk/by-uuid/$uuid"
	mount --bind "$root/dev" /dev
	mount -t ext4 /dev/labdisk1 "$root/fs"
	losetup --detach "$loop" # takes effect with the last umount
	rm "$root/dev/${loop##*/}"
	mount --bind /dev "$root/fs/dev"
	mount -t proc proc "$root/fs/proc"
	mount -t sysfs -o ro sysfs "$root/fs/sys"
	echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >"$root/fs/etc/fstab"
	"$here/guest-inside.sh" "$root/fs" "$key.pub" "$suite"
	umount "$root/fs/dev" "$root/fs/proc" "$root/fs/sys" "$root/fs"
}

build() {
	local image=$1
	truncate -s "${disk_mib}M" "$image"
	echo "start=${start_mib}MiB, size=${fs_mib}MiB, type=83, bootable" |
		sfdisk --quiet --label dos "$image"
	MKE2FS_CONFIG=$tree/etc/mke2fs.conf mke2fs -q -F -t ext4 -L rootfs -U "$uuid" \
		-E "offset=$((start_mib << 20)),lazy_itable_init=1" -d "$tree" "$image" "${fs_mib}M"
	mkdir "$image.mnt"
	unshare --mount --propagation private "$0" --populate "$tree" "$image" >&2
	rmdir "$image.mnt"
	chroot "$tree" grub-mkimage --format=i386-pc --prefix='(,msdos1)/boot/grub' \
		biosdisk part_msdos ext2 >"$image.core"
	[ "$(stat -c %s "$image.core")" -le $(((start_mib << 20) - 512)) ] || die "GRUB's core image is too big"
	dd if="$tree/usr/lib/grub/i386-pc/boot.img" of="$image" bs=440 count=1 conv=notrunc status=none
	dd if="$image.core" of="$image" bs=512 seek=1 conv=notrunc status=none
	rm "$image.core"
}

need_root
key=$(lab_dir)/ssh-key
if [ "${1:-}" = --populate ]; then
	tree=$2
	populate "$3"
	exit
fi
[ $# = 2 ] || die "usage: ${0##*/} TREE OUT"
tree=$(realpath "$1") out=$2
[ -x "$tree/usr/sbin/update-grub" ] || die "$1 is no tree of guest-tree.sh"
ssh_key
cache_build "$out" "$(cache_key "$tree" "@$here/cache.sh" "@$here/guest-disk.sh" "@$here/guest-inside.sh" \
	"@$here/guest" "@$key.pub")" build
