#!/bin/bash
# uboot-env.sh OUT: the flash chip in which U-Boot on QEMU's 32-bit machine "virt" keeps its environment, with that of
# uboot/beaglebone.env: 256 KiB of it at the beginning of 64 MiB (U-Boot, configs/qemu_arm_defconfig).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
[ $# = 1 ] || { echo "usage: ${0##*/} OUT" >&2; exit 1; }
sed '/^#/d' "$here/uboot/beaglebone.env" | sed -e ':a' -e 'N;$!ba' -e 's/\n\t/ /g' | mkenvimage -s 0x40000 -o "$1" -
truncate -s 64M "$1"
