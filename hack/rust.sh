#!/usr/bin/env bash
# Makes cargo and a C linker available: those of the machine where they do, else rustup's and apt's.
# The toolchain itself is the one that rust-toolchain.toml pins; rustup fetches it when it is used.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# A compiler alone does not do: Debian's gcc comes without the C library's headers and start files
# where only what it strictly needs is installed.
can_link() {
	have cc || return 1
	local out code=0
	out=$(mktemp)
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o "$out" - 2>/dev/null || code=1
	rm -f "$out"
	return "$code"
}

# cargo_does: a cargo that is there and not older than what Cargo.toml asks for. A distribution's
# cargo knows nothing of rust-toolchain.toml.
cargo_does() {
	have cargo || return 1
	local wanted version
	wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
	version=$(cargo --version | cut -d ' ' -f 2) || return 1
	[[ $(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1) == "$wanted" ]]
}

can_link || need_apt gcc libc6-dev
can_link || fail "cc can not link a C program"
if cargo_does; then exit 0; fi
if have rustup; then fail "rustup is here, but its cargo does not do: see what cargo --version says"; fi
need curl curl
need_apt ca-certificates
say "installing Rust with rustup"
curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
	sh -s -- -y --quiet --no-modify-path --profile minimal --default-toolchain none
cargo_does || fail "cargo does not do after rustup was installed"
