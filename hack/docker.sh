#!/usr/bin/env bash
# Makes sure that there is a Docker to use.
#   hack/docker.sh up     uses the one that answers, else installs and starts one
#   hack/docker.sh down   stops the one that `up` started, and no other
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=$BERTH_CACHE/docker
PROC=$STATE/dockerd.proc
LOG=$STATE/dockerd.log

answers() { have docker && timeout 10 docker info >/dev/null 2>&1; }
answers_root() { have docker && as_root timeout 10 docker info >/dev/null 2>&1; }

wait_for() { # COMMAND SECONDS
	local deadline=$((SECONDS + $2))
	until "$1"; do
		((SECONDS < deadline)) || return 1
		sleep 0.2
	done
}

install_engine() {
	need dockerd docker.io iptables iptables
	# Debian 13 has the client in a package of its own.
	need docker docker-cli
	# Where the kernel enforces AppArmor, Docker cannot start a container
	# without the program that loads its profile.
	if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; then
		need_apt apparmor
	fi
}

start_systemd() {
	say "starting Docker (systemctl start docker)"
	as_root systemctl start docker
}

# Without systemd, in a container or a bare virtual machine. setsid detaches it
# from this terminal; the inherited lock (descriptor 9) must not go with it.
start_detached() {
	local pid
	say "starting dockerd, log in $LOG"
	# shellcheck disable=SC2016 # expanded by the inner shell
	pid=$(as_root bash -c 'setsid dockerd </dev/null >>"$1" 2>&1 9>&- & echo $!' - "$LOG")
	proc_record "$PROC" "$pid"
}

# A user who is not in the group "docker" yet gets the use of this socket until
# Docker restarts; group membership would need a new login.
grant_socket() {
	need setfacl acl
	say "giving $(id -un) the use of Docker's socket"
	as_root setfacl -m "u:$(id -un):rw" /var/run/docker.sock
}

up() {
	if answers; then return 0; fi
	[[ -z ${DOCKER_HOST:-} ]] || fail "no Docker answers at DOCKER_HOST=$DOCKER_HOST"
	mkdir -p "$STATE"
	exec 9>"$STATE/lock"
	flock 9
	install_engine
	if ! answers && ! answers_root; then
		if [[ -d /run/systemd/system ]]; then
			start_systemd
		elif ! proc_pid "$PROC" >/dev/null; then
			start_detached
		fi
		if ! wait_for answers_root 60; then
			[[ ! -f $LOG ]] || tail -n 20 "$LOG" >&2
			fail "Docker did not start within 60 s"
		fi
	fi
	answers || grant_socket
	answers || fail "Docker runs, but $(id -un) cannot use it"
	say "Docker is up"
}

# The shell's own kill: a minimal Debian has no program of that name.
signal() { # SIGNAL PID
	# shellcheck disable=SC2016 # expanded by the inner shell
	as_root bash -c 'kill -"$1" "$2"' - "$1" "$2"
}

down() {
	local pid
	if ! pid=$(proc_pid "$PROC"); then
		rm -f "$PROC"
		return 0
	fi
	say "stopping the dockerd that was started here"
	signal TERM "$pid"
	if ! wait_gone "$PROC" 30; then
		signal KILL "$pid"
		wait_gone "$PROC" 10 || fail "dockerd (pid $pid) does not end"
	fi
	rm -f "$PROC"
}

case "${1:-}" in
up) up ;;
down) down ;;
*) fail "usage: hack/docker.sh up|down" ;;
esac
