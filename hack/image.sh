#!/usr/bin/env bash
# Builds the operator's image, berth:VERSION. Where a registry can be reached it is built from
# source in Docker, else from a static binary that is built here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
builder=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build/\1/p' Dockerfile)
tag="berth:$version"

if docker pull --quiet "$builder" >/dev/null 2>&1; then
	say "building $tag from source"
	docker build --quiet --tag "$tag" .
else
	target="$(uname -m)-unknown-linux-gnu"
	say "no registry can be reached: building a static binary for $tag here"
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package berth --bin berth --package berth-agent --bin berth-agent --target "$target"
	tar -c -C "$ROOT" Dockerfile.prebuilt -C "${CARGO_TARGET_DIR:-target}/$target/release" berth berth-agent |
		DOCKER_BUILDKIT=0 docker build --quiet --file Dockerfile.prebuilt --tag "$tag" -
fi
docker run --rm --read-only --user 65532:65532 "$tag" version
say "$tag is ready"
