#!/bin/bash
# install.sh: installs what the lab needs on Debian. Does nothing, without network and without
# root, when all is there. Go is not among it: the project itself needs it first.
set -euo pipefail
packages=(
	mmdebstrap debian-archive-keyring arch-test # guest-tree.sh, and whether 32 bits run here
	qemu-system-x86 qemu-system-arm qemu-utils device-tree-compiler openssh-client # the machines
	fdisk e2fsprogs dosfstools mtools mount    # partition tables, ext4, FAT, loop devices
	lvm2 btrfs-progs xfsprogs                  # layered-disk.sh
	ovmf grub-common grub-efi-amd64-bin        # machines with EFI, and their boot loader
	u-boot-qemu u-boot-tools                   # boards with U-Boot
	util-linux kmod cpio gzip xz-utils openssl # mount namespaces, modules, initramfs, payload
)

die() {
	echo "install.sh: $*" >&2
	exit 1
}

[ "$(. /etc/os-release && echo "$ID")" = debian ] ||
	die "this is $(. /etc/os-release && echo "$PRETTY_NAME"), the lab is made for Debian 12 or newer"
missing=()
for package in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || die "needs root to install ${missing[*]}, found uid $(id -u): run it through sudo"
echo "lab: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=3 update
apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${missing[@]}" >&2
