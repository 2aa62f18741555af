#!/usr/bin/env bash
# The demo: a control plane, a backend, a git server, the operator, and workspaces that become ready,
# run dev servers with previews, are worked in, suspended and resumed.
#   hack/demo.sh up      starts what is not running and shows it; may be run again at any time
#   hack/demo.sh down    removes everything that it made, and says what stays
# DEMO_BACKEND says what the workspaces run on: docker, or proxmox, which is a simulated Proxmox VE
# cluster. Its state is in .local/demo; two checkouts do not get in each other's way.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for part in common git-server operator tour removal; do
	# shellcheck source=demo/common.sh
	. "$ROOT/hack/demo/$part.sh"
done
cd "$ROOT"

# What the demo of this checkout runs on; nothing where there is none.
recorded_backend() { cat "$STATE/backend" 2>/dev/null || true; }

choose_backend() {
	local recorded
	recorded=$(recorded_backend)
	BACKEND=${DEMO_BACKEND:-${recorded:-docker}}
	case $BACKEND in
	docker | proxmox) ;;
	*) fail "DEMO_BACKEND=$BACKEND: known are docker and proxmox" ;;
	esac
	[[ -z $recorded || $recorded == "$BACKEND" ]] ||
		fail "the demo of this checkout runs on $recorded: make demo-down removes it, and then it can run on $BACKEND"
	mkdir -p "$STATE"
	printf '%s\n' "$BACKEND" >"$STATE/backend"
	# shellcheck source=demo/docker.sh
	. "$ROOT/hack/demo/$BACKEND.sh"
}

prepare() {
	need curl curl openssl openssl
	hack/tools.sh kubectl kube-apiserver kube-controller-manager etcd
	hack/docker.sh up 6>&-
	hack/images.sh git-server "${BACKEND_IMAGES[@]}" 6>&-
	hack/cluster.sh up 6>&-
	build
}

up() {
	lock
	choose_backend
	trap when_done EXIT
	trap 'exit 143' TERM
	prepare
	backend_start
	start_git_server
	start_operator
	tour
	farewell
}

down() {
	lock
	[[ -e $STATE ]] || say "there is no demo in this checkout; looking for what one may have left"
	remove_workspaces
	stop_process "$OPERATOR"
	hack/cluster.sh down 6>&-
	remove_cluster
	if docker_answers; then
		remove_leftovers
	elif [[ -e $STATE ]]; then
		fail "Docker does not answer, so the demo's containers can not be removed; start it, and run this again"
	fi
	# What was pushed to the git server belongs to root.
	rm -rf "$STATE" 2>/dev/null || as_root rm -rf "$STATE"
	rm -f "$LOCAL/bin/berth" "$LOCAL/bin/kubectl-berth"
	! docker_answers || stop_docker
	say "the demo is gone; tools and images stay in $BERTH_CACHE and in Docker"
}

case ${1:-} in
up) up ;;
down) down ;;
*) fail "usage: hack/demo.sh up|down" ;;
esac
