# shellcheck shell=bash
# Sourced by the scripts that make new systems: partitions and the program in ../newos as an initramfs.
# The caller sets here, tree, boot, rootA, rootB, state and data (sizes in MiB).
# shellcheck disable=SC2154 # see above

align=4 # MiB

# layout says where each partition begins: p1, p2, p3, p5, p6, and the image's end.
layout() {
	p1=$align p2=$((p1 + boot)) p3=$((p2 + rootA)) p4=$((p3 + rootB))
	p5=$((p4 + align)) p6=$((p5 + state + align)) end=$((p6 + data))
}

# partition_table IMAGE TYPE: makes the image; TYPE is that of the boot partition.
partition_table() {
	truncate -s "${end}M" "$1"
	sfdisk --quiet "$1" <<-S
		label: dos
		label-id: 0xba1e0a05
		1: start=${p1}MiB, size=${boot}MiB, type=$2, bootable
		2: start=${p2}MiB, size=${rootA}MiB, type=83
		3: start=${p3}MiB, size=${rootB}MiB, type=83
		4: start=${p4}MiB, size=$((end - p4))MiB, type=f
		5: start=${p5}MiB, size=${state}MiB, type=83
		6: start=${p6}MiB, size=${data}MiB, type=83
	S
}

# initramfs FILE GOARCH MODULE...: newos as /init and the modules, with what they need, in loading order.
initramfs() {
	local out=$1 goarch=$2 root=$1.d release module
	shift 2
	mkdir -p "$root/modules"
	(cd "$here/../newos" && CGO_ENABLED=0 GOOS=linux GOARCH=$goarch go build -trimpath -ldflags='-s -w' -o "$root/init" .)
	release=$(basename "$(echo "$tree"/lib/modules/*)")
	[ -e "$tree/lib/modules/$release/modules.dep" ] || depmod --basedir "$tree" "$release"
	for module in "$@"; do
		# a module that this kernel has built in, or no longer has, brings no line
		modprobe --dirname "$tree" --set-version "$release" --show-depends "$module" || :
	done 2>/dev/null | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$root/modules/paths"
	grep -q '/ext4\.ko' "$root/modules/paths" || die "no ext4 module for $release in $tree"
	while read -r module; do
		case $module in
		*.xz) xz -dc "$module" >"$root/modules/$(basename "$module" .xz)" ;;
		*) cp "$module" "$root/modules/" ;;
		esac
		basename "$module" .xz >>"$root/modules/order"
	done <"$root/modules/paths"
	rm "$root/modules/paths"
	(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible | gzip -n9) >"$out"
	rm -r "$root"
}

# put IMAGE MIB FILE: copies a file system to its place in the image.
put() { dd if="$3" of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none; }

# ext4 IMAGE START SIZE LABEL [TREE]
ext4() {
	local conf=$tree/etc/mke2fs.conf # unless nothing of the tree's packages was configured
	[ -e "$conf" ] || conf=/etc/mke2fs.conf
	MKE2FS_CONFIG=$conf mke2fs -q -F -t ext4 -L "$4" -E "offset=$(($2 << 20)),lazy_itable_init=0" ${5:+-d "$5"} "$1" "${3}M"
}
