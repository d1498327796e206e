#!/bin/bash
# Runs every fuzz target of the project for so many executions: testdata/fuzz.sh 5000x
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:?executions, such as 20000x}
found=0
while IFS=: read -r file target; do
	found=$((found + 1))
	echo "fuzz: $target in $(dirname "$file")"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$count" -fuzzminimizetime 10x "./$(dirname "$file")" | tail -n 1
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "fuzz: found no fuzz target" >&2; exit 1; }
