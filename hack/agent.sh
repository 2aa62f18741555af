#!/usr/bin/env bash
# The agent for workspaces, as one static file that runs on any Linux of this machine's kind of
# processor. Prints its path.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# A folder of its own below the target folder: other flags would make the rest be built anew.
say "building the agent"
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static ${RUSTFLAGS:-}" \
	cargo build --quiet --locked --release --package berth-agent --bin berth-agent --target "$target" >&2
printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}/$target/release/berth-agent"
