#!/usr/bin/env bash
# All tests. Control planes, operators and git servers are started by the tests themselves and end
# with them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

need_apt openssh-server openssh-client
# Dev servers are previewed for real, and the terminal page is looked at in a browser.
need node nodejs npm npm
need chromium chromium
say "unit tests"
cargo test --locked --workspace --lib --bins
# These look into a real container, one image after the other.
for image in workspace nogit git-server; do
	say "setting up a container of $image"
	BERTH_TEST_IMAGE="berth-demo/$image:bookworm" cargo test --locked --quiet --lib provision:: -- --ignored
done
# Its program is `pct` on the simulated nodes.
cargo test --locked --package berth-proxmox-simulator --tests --no-run
say "integration tests"
cargo test --locked --test integration
say "tests of the Proxmox VE simulator"
cargo test --locked --package berth-proxmox-simulator --tests
