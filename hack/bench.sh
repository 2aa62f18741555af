#!/usr/bin/env bash
# Measures, and prints what docs/benchmarks.md has: all benchmarks, or those that are named.
#   hack/bench.sh [workspace] [gateway]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

need wrk wrk curl curl
# A thousand links are a thousand open files, on each side.
ulimit -n "$(ulimit -H -n)"
(($#)) || set -- workspace gateway
for name in "$@"; do
	cargo bench --locked --bench "$name"
done
