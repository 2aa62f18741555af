#!/usr/bin/env bash
# Makes the OS templates of the Proxmox VE simulator (tests/proxmox-simulator) available in Docker,
# as berth-demo/NAME:bookworm. Says nothing when there is nothing to do.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/images.sh" debian-12-openrc debian-12-standard debian-12-sysvinit
