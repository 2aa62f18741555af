#!/usr/bin/env bash
# The local control plane of this checkout, in the background.
#   hack/cluster.sh up       starts it unless it runs; .local/kubeconfig is its admin's
#   hack/cluster.sh down     stops it and removes its state
#   hack/cluster.sh status   says whether it runs (exit code 3 if not)
# Started again after it died or was killed, it has its data, port and
# certificates back.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=$LOCAL/cluster
PROC=$LOCAL/cluster.proc
KUBECONFIG_FILE=$LOCAL/kubeconfig
LOG=$STATE/supervisor.log
TIMEOUT=${BERTH_START_TIMEOUT:-120}

answers() {
	"$LOCAL/bin/kubectl" --kubeconfig "$STATE/kubeconfig" --request-timeout 3s \
		get --raw /readyz >/dev/null 2>&1
}

publish_kubeconfig() {
	cmp -s "$STATE/kubeconfig" "$KUBECONFIG_FILE" && return 0
	install -m 600 "$STATE/kubeconfig" "$KUBECONFIG_FILE.new"
	mv -f "$KUBECONFIG_FILE.new" "$KUBECONFIG_FILE"
}

# One `up` or `down` at a time in this checkout.
lock() {
	mkdir -p "$LOCAL"
	exec 7>>"$LOCAL/cluster.lock"
	flock 7
}

start() {
	mkdir -p "$STATE"
	: >"$LOG"
	setsid "$ROOT/hack/control-plane.sh" run "$STATE" </dev/null >>"$LOG" 2>&1 7>&- &
	proc_record "$PROC" "$!"
}

wait_ready() {
	local deadline=$((SECONDS + TIMEOUT))
	until grep -qx ready "$LOG"; do
		if ! proc_pid "$PROC" >/dev/null; then
			cat "$LOG" >&2
			fail "the control plane did not start"
		fi
		((SECONDS < deadline)) || fail "the control plane is not ready after $TIMEOUT s, see $STATE/*.log"
		sleep 0.1
	done
}

up() {
	lock
	if proc_pid "$PROC" >/dev/null && grep -qx ready "$LOG" && answers; then
		publish_kubeconfig
		say "the control plane runs already"
		return 0
	fi
	# Here, for what it says to be seen and its time not to count.
	"$ROOT/hack/tools.sh" kubectl etcd kube-apiserver kube-controller-manager
	if ! proc_pid "$PROC" >/dev/null; then
		say "starting a local control plane"
		start
	fi
	wait_ready
	publish_kubeconfig
	say "the control plane is ready: export KUBECONFIG=$KUBECONFIG_FILE"
}

down() {
	local pid
	[[ -e $STATE || -e $PROC ]] || return 0
	lock
	if pid=$(proc_pid "$PROC"); then
		say "stopping the local control plane"
		kill -TERM "$pid"
		# What it started dies with it in any case.
		wait_gone "$PROC" 15 || kill -KILL "$pid"
		wait_gone "$PROC" 5 || fail "the control plane (pid $pid) does not end"
	fi
	rm -rf "$STATE" "$PROC" "$KUBECONFIG_FILE"
}

status() {
	local pid
	if ! pid=$(proc_pid "$PROC"); then
		echo "not running"
		return 3
	fi
	if ! answers; then
		echo "running (pid $pid), not ready"
		return 3
	fi
	echo "running (pid $pid), kubeconfig $KUBECONFIG_FILE"
}

case "${1:-}" in
up) up ;;
down) down ;;
status) status ;;
*) fail "usage: hack/cluster.sh up|down|status" ;;
esac
