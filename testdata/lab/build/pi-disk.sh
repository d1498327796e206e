#!/bin/bash
# pi-disk.sh TREE OUT: the card of a Raspberry Pi out of a tree of pi-tree.sh: MBR, p1 FAT32 bootfs with config.txt,
# cmdline.txt, kernel and initramfs, p2 ext4 rootfs; 2 GiB, sparse, raw. Root logs in with the lab's ssh key. Its init is
# systemd where the tree has it, else busybox.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=cache.sh
. "$here/cache.sh"

disk_mib=2048 boot_start=4 boot_mib=256
root_start=$((boot_start + boot_mib)) root_mib=$((disk_mib - boot_start - boot_mib - 1))
uuid=1ab00000-0b00-4000-8000-0000000000a1
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC

# modules ROOT: keeps the drivers of the machine and the file systems, and indexes them.
modules() {
	local dir release
	dir=$(echo "$1"/lib/modules/*)
	release=${dir##*/}
	(cd "$dir/kernel" && find . -type f | grep -Ev "$keep" | xargs -r rm)
	find "$dir" -type d -empty -delete
	depmod --basedir "$1" "$release"
	echo "$release"
}
keep='/(drivers/(virtio|block/virtio_blk|mmc|char/hw_random|watchdog|net/(virtio_net|net_failover)|i2c)|net/core/failover|fs/(ext4|jbd2|fat|nls|mbcache)|lib|crypto|arch/[a-z0-9]+/crypto)'

# initramfs ROOT RELEASE OUT: as a Raspberry Pi OS has one: enough to find the root, and its /init goes on there.
initramfs() {
	local dir=$3.d module
	mkdir -p "$dir/bin" "$dir/modules" "$dir/dev" "$dir/proc" "$dir/sys" "$dir/root"
	cp "$1/bin/busybox" "$dir/bin/busybox"
	ln -s busybox "$dir/bin/sh"
	install -m 0755 "$here/pi/initramfs-init" "$dir/init"
	for module in virtio_pci virtio_mmio virtio_blk sdhci_pci mmc_block ext4; do
		modprobe --dirname "$1" --set-version "$2" --show-depends "$module" 2>/dev/null || :
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$dir/list"
	while read -r module; do
		cp "$module" "$dir/modules/"
		basename "$module" >>"$dir/modules/order"
	done <"$dir/list"
	rm "$dir/list"
	grep -q '^ext4\.ko' "$dir/modules/order" || die "no ext4 module for $2"
	(cd "$dir" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible | gzip -n1) >"$3"
	rm -r "$dir"
}

root_files() {
	local root=$1 applet
	cp -r --no-preserve=mode,ownership "$here/pi/root/." "$root/"
	chmod 0755 "$root/etc/rcS"
	for applet in mount umount init reboot poweroff ifconfig route modprobe insmod lsmod hostname vi; do
		ln -sf /bin/busybox "$root/sbin/$applet"
	done
	ln -sf busybox "$root/bin/sh"
	mkdir -p "$root/srv/db" "$root/usr/local/sbin" "$root/boot/firmware" "$root/proc" "$root/sys" "$root/run" "$root/etc/dropbear" "$root/var/lib/balena-migrate" "$root/srv/app"
	install -d -m 0700 "$root/root/.ssh"
	install -m 0600 "$pubkey" "$root/root/.ssh/authorized_keys"
	chmod 0600 "$root/etc/wpa_supplicant/wpa_supplicant.conf"
	chown -R 0:0 "$root/root" "$root/etc"
	echo kept >"$root/srv/app/note"
}

# systemd ROOT: makes systemd the init. Without udev no device is waited for, so the boot partition is mounted by rcS.
systemd() {
	local root=$1
	cp -r --no-preserve=mode,ownership "$here/pi/systemd/." "$root/etc/systemd/system/"
	ln -sf lab.target "$root/etc/systemd/system/default.target"
	ln -sf /lib/systemd/systemd "$root/sbin/init"
	ln -sf /bin/systemctl "$root/sbin/reboot"
	ln -sf /bin/systemctl "$root/sbin/poweroff"
	sed -i '/boot.firmware/s/defaults/noauto/' "$root/etc/fstab"
	echo 1ab00000000040008000000000000001 >"$root/etc/machine-id"
}

# put IMAGE MIB FILE: copies a file system to its place in the image.
put() { dd if="$3" of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none; }

build() {
	local image=$1 root=$1.root boot=$1.boot release
	truncate -s "${disk_mib}M" "$image"
	printf 'label: dos\nlabel-id: 0x1ab0000a\n1: start=%dMiB, size=%dMiB, type=c\n2: start=%dMiB, size=%dMiB, type=83\n' \
		"$boot_start" "$boot_mib" "$root_start" "$root_mib" | sfdisk --quiet "$image"
	cp -a "$tree" "$root"
	release=$(modules "$root")
	mkdir "$boot"
	cp "$here"/pi/boot/* "$boot/"
	mv "$root/boot/vmlinuz-$release" "$boot/$kernel"
	rm -f "$root"/boot/*"$release"
	initramfs "$root" "$release" "$boot/$initrd"
	root_files "$root"
	[ ! -e "$root/lib/systemd/systemd" ] || systemd "$root"
	truncate -s "${boot_mib}M" "$boot.fat"
	mkfs.vfat --invariant -F 32 -n BOOTFS "$boot.fat" >/dev/null
	mcopy -i "$boot.fat" "$boot"/* ::/
	put "$image" "$boot_start" "$boot.fat"
	mke2fs -q -F -t ext4 -L rootfs -U "$uuid" -E "offset=$((root_start << 20)),lazy_itable_init=1" -d "$root" "$image" "${root_mib}M"
	rm -r "$root" "$boot" "$boot.fat"
}

[ $# = 2 ] || die "usage: ${0##*/} TREE OUT"
need_root
tree=$(realpath "$1") out=$2
case $(echo "$tree"/boot/vmlinuz-*) in
*-arm64) kernel=kernel8.img initrd=initramfs8 ;;
*-armmp) kernel=kernel7.img initrd=initramfs7 ;;
*) die "$1 is no tree of pi-tree.sh" ;;
esac
key=$(lab_dir)/ssh-key pubkey=$(lab_dir)/ssh-key.pub # cache_build has a key of its own
ssh_key
cache_build "$out" "$(cache_key "$tree" "@$here/cache.sh" "@$here/pi-disk.sh" "@$here/pi" "@$pubkey")" build
