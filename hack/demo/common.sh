# shellcheck shell=bash disable=SC2034 # variables are for the other files
# What all of the demo shares: its state, and saying what is done.

STATE=$LOCAL/demo
CONFIG=$STATE/berth.yaml
# Beside the state, so that the processes are found even when somebody removed that.
OPERATOR=$LOCAL/demo.proc
SIMULATOR=$LOCAL/demo-simulator.proc
LOG=$STATE/operator.log
# Where to look when it did not get to its end.
LOGS=("$LOG")
# Tells this checkout's demo from another's on the same Docker host.
HASH=$(printf '%s' "$ROOT" | sha256sum)
INSTANCE=demo-${HASH:0:8}
# Seconds until a workspace has to be where it should, and a Template, which may install packages.
PATIENCE=180
BUILDING=900

export KUBECONFIG=$LOCAL/kubeconfig PATH=$LOCAL/bin:$PATH

step() {
	if [[ -t 1 ]]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

# A command the way it would be typed, quoted only where a shell needs it.
typed() {
	local word line='$'
	for word in "$@"; do
		if [[ $word =~ ^[A-Za-z0-9_./:=@-]+$ ]]; then line+=" $word"; else line+=" '$word'"; fi
	done
	printf '%s\n' "$line"
}

show() {
	typed "$@"
	"$@"
}

wait_for() { # WHAT COMMAND...
	local what=$1 deadline=$((SECONDS + 30))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "waited in vain until $what"
		sleep 0.1
	done
}

WATCHER=

# Whatever ends the demo early, Ctrl-C too: nothing goes on printing, and it says where to look.
# shellcheck disable=SC2317 # called by a trap
when_done() {
	local code=$?
	stop_watching
	((code != 0)) || return 0
	local log
	for log in "${LOGS[@]}"; do
		[[ -s $log ]] || continue
		say "the last lines of $log:"
		tail -n 20 "$log" >&2
	done
	say "the demo did not get to its end. make demo goes on from here, make demo-down removes it"
}

# One `up` or `down` at a time in this checkout. What goes on running afterwards must not inherit
# the lock: hence the 6>&- wherever such a thing is started.
lock() {
	mkdir -p "$LOCAL"
	exec 6>>"$LOCAL/demo.lock"
	if ! flock -n 6; then
		say "waiting for another run of the demo in this checkout"
		flock 6
	fi
}

# Where the docker command finds its daemon, which is where everybody else has to look as well.
docker_endpoint() {
	local endpoint
	endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
	[[ $endpoint == unix://* ]] || fail "the demo needs Docker on this machine, not at $endpoint"
	printf '%s\n' "$endpoint"
}

docker_answers() { have docker && timeout 10 docker info >/dev/null 2>&1; }

stop_process() { # FILE
	local pid
	if pid=$(proc_pid "$1"); then
		kill "$pid" 2>/dev/null || true
		wait_gone "$1" 30 || kill -KILL "$pid" 2>/dev/null || true
	fi
	rm -f "$1"
}
