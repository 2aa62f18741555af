#!/usr/bin/env bash
# Everything that can be said about the checkout without running it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

check_rust() {
	say "cargo fmt"
	cargo fmt --all --check
	say "cargo clippy"
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
}

check_scripts() {
	say "shellcheck"
	need shellcheck shellcheck
	local scripts=(.ci/run)
	mapfile -t -O 1 scripts < <(git ls-files 'hack/*.sh' hack/images/git-server/git-server \
		hack/images/git-server/check-token 'src/provision/scripts/*.sh' 'src/backend/ssh/scripts/*.sh' \
		'tests/proxmox-simulator/src/containers/docker/*.sh')
	(cd hack && shellcheck --external-sources "${scripts[@]/#/../}")
}

check_chart() {
	say "helm lint"
	hack/tools.sh helm
	local values
	for values in charts/berth/ci/*.yaml; do
		.local/bin/helm lint --strict --quiet charts/berth --values "$values"
	done
}

# The database of advisories is one more thing to be downloaded, and from another place than the
# crates: where it can not be had, that is said, and the rest is checked all the same.
check_dependencies() {
	say "cargo deny"
	local root="$BERTH_CACHE/tools/cargo-deny"
	[[ -x $root/bin/cargo-deny ]] || install_cargo_deny "$root"
	"$root/bin/cargo-deny" --log-level error check bans licenses sources
	local log
	log=$(mktemp)
	if timeout 60 "$root/bin/cargo-deny" --log-level error check advisories >"$log" 2>&1; then
		rm -f "$log"
	elif grep -qE 'failed to (fetch|load|open) advisory database|failed to fetch' "$log"; then
		rm -f "$log"
		say "the database of advisories can not be reached from here: advisories were NOT checked"
	else
		cat "$log" >&2
		rm -f "$log"
		return 1
	fi
}

install_cargo_deny() {
	say "installing cargo-deny (once; some minutes)"
	CARGO_TARGET_DIR="$BERTH_CACHE/target-cargo-deny" \
		cargo install --quiet --locked --root "$1" cargo-deny
	rm -rf "$BERTH_CACHE/target-cargo-deny"
}

check_rust
say "generated files"
hack/generate.sh --check
check_scripts
check_chart
check_dependencies
say "nothing to complain about"
