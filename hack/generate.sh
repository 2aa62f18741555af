#!/usr/bin/env bash
# Writes what is made from the code: crds/, the chart's copy of it, docs/reference/. With --check
# it writes nothing and fails where a file is not as it would be written.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/crds" "$fresh/reference"
cargo run --quiet --locked --bin berth -- crds --output "$fresh/crds"
cargo run --quiet --locked --bin berth -- reference --output "$fresh/reference"

if [[ ${1:-} == --check ]]; then
	stale=0
	for pair in crds:crds crds:charts/berth/files/crds reference:docs/reference; do
		diff -r -u "${pair#*:}" "$fresh/${pair%%:*}" >&2 || stale=1
	done
	((stale == 0)) || fail "generated files are out of date: run make crds"
	exit 0
fi
mkdir -p crds charts/berth/files/crds docs/reference
cp "$fresh"/crds/* crds/
cp "$fresh"/crds/* charts/berth/files/crds/
cp "$fresh"/reference/* docs/reference/
