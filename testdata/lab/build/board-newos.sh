# shellcheck shell=bash
# Sourced by the scripts that make new systems for boards with ARM processors: an image in the form of balenaOS with a
# FAT32 boot partition that has kernel and initramfs. The caller sets here, tree, out, goarch, type and arch (of the device
# type), and defines boot_files DIR, which puts into DIR how the board is led to them.
# shellcheck disable=SC2154 # see above

export SOURCE_DATE_EPOCH=1700000000
# shellcheck disable=SC2034 # of newos.sh
boot=100 rootA=60 rootB=60 state=20 data=64

boot_partition() {
	local dir=$2 fs=$2.fat
	mkdir -p "$dir/system-connections"
	boot_files "$dir"
	printf '{"slug":"%s","version":1,"arch":"%s","state":"RELEASED"}\n' "$type" "$arch" >"$dir/device-type.json"
	cp "$here/newos-boot/sample.ignore" "$dir/system-connections/resin-sample.ignore"
	truncate -s "${boot}M" "$fs"
	mkfs.vfat --invariant -F 32 -n resin-boot "$fs" >"$fs.log" 2>&1 || die "$(cat "$fs.log")"
	MTOOLS_SKIP_CHECK=1 mcopy -s -i "$fs" "$dir"/* ::/
	put "$1" "$p1" "$fs"
}

build() {
	local image=$1 dir=$1.d
	mkdir "$dir"
	partition_table "$image" c
	boot_partition "$image" "$dir/boot"
	ext4 "$image" "$p2" "$rootA" resin-rootA
	ext4 "$image" "$p3" "$rootB" resin-rootB
	ext4 "$image" "$p5" "$state" resin-state
	ext4 "$image" "$p6" "$data" resin-data
	rm -r "$dir"
}

# make_image SCRIPT: the image, by the script that calls.
make_image() {
	layout
	cache_build "$out" "$(cache_key "$tree" "$(go env GOVERSION)" "$(grep '^golang.org/x/sys ' "$here/../../../go.sum")" \
		"@$here/../newos" "@$here/cache.sh" "@$here/newos.sh" "@$here/board-newos.sh" "@$1" "@$here/newos-boot")" build
}
