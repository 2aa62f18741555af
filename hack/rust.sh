#!/usr/bin/env bash
# Makes cargo and a C linker available: those of the machine, else rustup's and apt's. The
# toolchain itself is the one that rust-toolchain.toml pins; rustup fetches it when it is used.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need cc gcc
have cargo && exit 0
[[ -x $HOME/.cargo/bin/cargo ]] && exit 0
need curl curl
need_apt ca-certificates
say "installing Rust with rustup"
curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
	sh -s -- -y --quiet --no-modify-path --profile minimal --default-toolchain none
