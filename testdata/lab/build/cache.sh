# shellcheck shell=bash
# Sourced by the build scripts: artefacts that are built once and kept.
#
# An artefact OUT is a symbolic link to OUT.<key>, where the key is a digest of everything
# that went into it. So an unchanged artefact is used again, a changed one is built beside
# the old (a machine whose overlay lies on the old one is not pulled from under its feet),
# and a half-built one never has a final name.

# lab_dir prints the folder of all artefacts and makes it.
lab_dir() {
	local dir=${BALENA_LAB_DIR:-$HOME/.cache/balena-migrate-lab}
	mkdir -p "$dir"
	realpath "$dir"
}

# say MESSAGE: progress for the person who waits.
say() { printf 'lab: %s\n' "$*" >&2; }

# die MESSAGE: the end, with the reason.
die() {
	say "$*"
	exit 1
}

# ssh_key: makes the lab's own key pair, $key and $key.pub.
ssh_key() {
	(
		flock 9
		[ -e "$key.pub" ] || ssh-keygen -q -t ed25519 -N '' -C balena-migrate-lab -f "$key"
	) 9>"$key.lock"
}

# need_root: file ownership, chroot and loop devices need it.
need_root() { [ "$(id -u)" = 0 ] || die "${0##*/} needs root, found uid $(id -u): run it through sudo"; }

# cache_key WORD...: a digest over the words; a word @PATH stands for the content of
# that file, or of all files below that folder.
cache_key() {
	local word
	for word in "$@"; do
		case $word in
		@*)
			[ -e "${word#@}" ] || die "input ${word#@} of ${0##*/} is missing"
			(cd "$(dirname "${word#@}")" && find "$(basename "${word#@}")" -type f -print0 |
				LC_ALL=C sort -z | xargs -0 sha256sum)
			;;
		*) printf '%s\n' "$word" ;;
		esac
	done | sha256sum | cut -c1-16
}

# cache_build OUT KEY COMMAND...: makes OUT by "COMMAND... TMP" unless the one with this
# key is there. One builder at a time; the others wait and find the artefact done.
cache_build() {
	local out=$1 key=$2 lock work start
	shift 2
	mkdir -p "$(dirname "$out")"
	exec {lock}>"$out.lock"
	flock -n "$lock" || { say "waiting for another builder of ${out##*/}" && flock "$lock"; }
	if [ ! -e "$out.$key" ]; then
		say "building ${out##*/} ($key)"
		start=$SECONDS
		rm -rf --one-file-system "$out".tmp.* # of a builder that was killed: we hold the lock
		work=$(mktemp -d "$out.tmp.XXXXXX")
		# shellcheck disable=SC2064 # the value of now is meant
		trap "rm -rf --one-file-system '$work'" EXIT
		"$@" "$work/out"
		mv "$work/out" "$out.$key"
		rmdir "$work"
		trap - EXIT
		say "built ${out##*/} in $((SECONDS - start)) s"
	fi
	touch "$out.$key"
	ln -sfn "${out##*/}.$key" "$out.link"
	mv -T "$out.link" "$out"
	cache_prune "$out" "$key"
	exec {lock}>&-
}

# cache_prune OUT KEY: removes OUT's other versions that nobody asked for since a day.
cache_prune() {
	find "$(dirname "$1")" -maxdepth 1 -name "${1##*/}.????????????????" ! -name "*.$2" -mtime +0 \
		-exec rm -rf --one-file-system {} +
}
