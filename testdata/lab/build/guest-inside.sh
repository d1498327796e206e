#!/bin/bash
# guest-inside.sh ROOT KEY.pub SUITE LAYOUT: turns the mounted copy of a tree into the lab's guest.
# Called by guest-disk.sh. /dev, /proc and /sys are mounted in ROOT already.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$1 pubkey=$2 suite=$3 layout=$4
umask 022

users() {
	chroot "$root" useradd --create-home --shell /bin/bash pi
	local who home
	for who in root:/root pi:/home/pi; do
		home=$root${who#*:} who=${who%%:*}
		install -d -m 0700 "$home/.ssh"
		install -m 0600 "$pubkey" "$home/.ssh/authorized_keys"
		chroot "$root" chown -R "$who:$who" "/${home#"$root/"}/.ssh"
	done
}

files() {
	cp -r --no-preserve=mode,ownership "$here/guest/." "$root/"
	chmod 0440 "$root/etc/sudoers.d/pi"
	chmod 0600 "$root"/etc/wpa_supplicant/wpa_supplicant.conf "$root"/etc/NetworkManager/system-connections/*
	chmod 0700 "$root/etc/NetworkManager/system-connections"
	# what an application leaves behind: an odd name, a link, an empty folder, 4 MiB that don't compress
	mkdir -p "$root/srv/app/uploads/2024" "$root/srv/app/empty" "$root/srv/db"
	echo "kept" >"$root/srv/app/uploads/2024/notes für später.txt"
	ln -s config/settings.json "$root/srv/app/current.json"
	head -c 4M /dev/urandom >"$root/srv/db/app.sqlite"
	chroot "$root" chown -R pi:pi /srv/app
	echo "lab-$suite" >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 lab-%s\n' "$suite" >"$root/etc/hosts"
	echo "nameserver 10.0.2.3" >"$root/etc/resolv.conf"
}

units() {
	chroot "$root" systemd-machine-id-setup >/dev/null # without one, the first boot enables everything
	chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service
	chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
		e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service \
		systemd-timesyncd.service ldconfig.service systemd-journal-catalog-update.service
	# of Debian 13: complains on the console where there is no vsock
	mkdir -p "$root/etc/systemd/system-generators"
	ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"
}

# grub does what grub-install does for the files below /boot, then writes grub.cfg as Debian does.
grub() {
	local from=$root/usr/lib/grub/i386-pc # GRUB for EFI is this machine's: Debian 12's as well
	[ "$layout" = bios ] || from=/usr/lib/grub/x86_64-efi
	mkdir -p "$root/boot/grub/${from##*/}" "$root/boot/grub/fonts" "$root/boot/efi"
	cp "$from"/*.{mod,lst} "$root/boot/grub/${from##*/}/"
	cp "$root/usr/share/grub/unicode.pf2" "$root/boot/grub/fonts/"
	chroot "$root" grub-editenv /boot/grub/grubenv create
	chroot "$root" update-grub
	local want
	for want in next_entry 'custom.cfg' 'root=UUID=' 'initrd.img-'; do
		grep -q -- "$want" "$root/boot/grub/grub.cfg" || {
			echo "update-grub wrote no '$want' into grub.cfg" >&2
			return 1
		}
	done
}

users
files
units
grub
