# shellcheck shell=bash
# What the scripts of this directory share. Source it after `set -euo pipefail`:
#   . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ROOT is this checkout, LOCAL its own git-ignored state. BERTH_CACHE is what
# all checkouts of a user share: tools, images, the record of a started Docker.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export LOCAL="$ROOT/.local"
export BERTH_CACHE="${BERTH_CACHE:-$HOME/.cache/berth}"

# Messages go to standard error, so that a script's output stays usable.
say() { printf '==> %s\n' "$*" >&2; }
fail() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [[ $(id -u) == 0 ]]; then
		"$@"
	elif have sudo; then
		sudo -- "$@"
	else
		fail "this needs root and there is no sudo: $*"
	fi
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get \
		-o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@"
}

# need_apt PACKAGE... installs what is not installed yet. The package lists are
# fetched only when the installation fails without: it is the slow part.
need_apt() {
	local package log missing=()
	for package in "$@"; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
			missing+=("$package")
	done
	((${#missing[@]})) || return 0
	have apt-get || fail "please install: ${missing[*]} (no apt-get here to do it)"
	say "installing ${missing[*]} with apt"
	log=$(mktemp)
	if ! apt_install "${missing[@]}" >"$log" 2>&1; then
		if ! { as_root apt-get -qq update && apt_install "${missing[@]}"; } >"$log" 2>&1; then
			tail -n 20 "$log" >&2
			rm -f "$log"
			fail "apt could not install: ${missing[*]}"
		fi
	fi
	rm -f "$log"
}

# need COMMAND PACKAGE [COMMAND PACKAGE]... installs the packages whose
# command is missing, all at once.
need() {
	local packages=()
	while (($#)); do
		have "$1" || packages+=("$2")
		shift 2
	done
	((${#packages[@]} == 0)) || need_apt "${packages[@]}"
}

# A process is recorded as its pid and its start time (in clock ticks since
# boot), so that a number the system has given to another process since is
# never taken for ours.
proc_start() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# The command's name is in parentheses and may hold spaces; after it the
	# state is field 3 and the start time field 22.
	read -r -a stat <<<"${stat##*) }"
	[[ ${stat[0]} != Z ]] || return 1
	printf '%s\n' "${stat[19]}"
}

proc_record() { # FILE PID
	printf '%s %s\n' "$2" "$(proc_start "$2")" >"$1.new"
	mv -f "$1.new" "$1"
}

# proc_pid FILE prints the pid if the recorded process is still running.
proc_pid() {
	local pid start
	[[ -f $1 ]] && read -r pid start <"$1" || return 1
	[[ -n $start && $(proc_start "$pid") == "$start" ]] || return 1
	printf '%s\n' "$pid"
}

# wait_gone FILE SECONDS waits until the recorded process has ended.
wait_gone() {
	local deadline=$((SECONDS + $2))
	while proc_pid "$1" >/dev/null; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}
