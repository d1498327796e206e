#!/bin/bash
# Runs every fuzz target of the project for so many executions: testdata/fuzz.sh 5000x
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:?executions, such as 5000x}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
found=0

fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$count" -fuzzminimizetime 10x "./$1" >"$log" 2>&1; }

while IFS=: read -r file target; do
	found=$((found + 1))
	dir=$(dirname "$file")
	# Go's fuzzer now and then ends in "context deadline exceeded" of its own, without an input that fails: once more.
	if ! fuzz "$dir" "$target" && { grep -q 'Failing input' "$log" || ! grep -q 'context deadline exceeded' "$log" || ! fuzz "$dir" "$target"; }; then
		cat "$log"
		echo "fuzz: $target in $dir failed" >&2
		exit 1
	fi
	echo "fuzz: $target in $dir: $(tail -n 1 "$log")"
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "fuzz: found no fuzz target" >&2; exit 1; }
