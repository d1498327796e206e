#!/bin/bash
# Builds the executable from two places and compares: the same source gives the same bytes, wherever it lies.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/elsewhere"
git ls-files -z | xargs -0 cp --parents -P -t "$dir/elsewhere"
make -s BIN_OUT="$dir/here" VERSION=same build
make -s -C "$dir/elsewhere" BIN_OUT="$dir/there" VERSION=same build
cmp "$dir/here" "$dir/there"
file "$dir/here" | grep -q 'statically linked'
echo "reproducible: $(sha256sum <"$dir/here" | cut -c1-16)"
