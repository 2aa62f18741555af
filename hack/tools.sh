#!/usr/bin/env bash
# Makes the tools of the local control plane available in .local/bin:
#   hack/tools.sh [kubectl|kube-apiserver|kube-controller-manager|etcd|helm]...
# (all of them if none is named). A tool is downloaded from its official
# release or, where that cannot be reached, built from the module in hack/tools
# that pins it. Either way it is kept in $BERTH_CACHE/tools for all checkouts.
# Says nothing when there is nothing to do.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BIN=$LOCAL/bin
ALL=(kubectl kube-apiserver kube-controller-manager etcd helm)

arch() {
	case "$(uname -m)" in
	x86_64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) fail "no tools for the architecture $(uname -m)" ;;
	esac
}

project_of() {
	case "$1" in
	kubectl | kube-apiserver | kube-controller-manager) echo kubernetes ;;
	etcd | helm) echo "$1" ;;
	*) fail "unknown tool $1; known: ${ALL[*]}" ;;
	esac
}

module_of() {
	case "$1" in
	kubernetes) echo k8s.io/kubernetes ;;
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	helm) echo helm.sh/helm/v4 ;;
	esac
}

package_of() {
	case "$1" in
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	helm) echo helm.sh/helm/v4/cmd/helm ;;
	*) echo "k8s.io/kubernetes/cmd/$1" ;;
	esac
}

# The go.mod is the only place that says a version.
version_of() {
	awk -v module="$(module_of "$1")" \
		'$1 == "require" { $1 = ""; $0 = $0 } $1 == module && $2 ~ /^v/ { print $2; exit }' \
		"$ROOT/hack/tools/$1/go.mod"
}

store_of() { echo "$BERTH_CACHE/tools/$1-$(version_of "$1")/bin"; }

# --- the official releases ---------------------------------------------------

get() { # URL FILE
	curl -fsSL --connect-timeout 5 --max-time 900 --retry 2 -o "$2" "$1" 2>/dev/null
}

# reachable URL answers within seconds, so that a machine without a way out
# goes on to build at once.
reachable() {
	curl -fsSLI --connect-timeout 5 --max-time 10 -o /dev/null "$1" 2>/dev/null
}

# get_checked URL SUMS_URL FILE: SUMS_URL holds either the one checksum or a
# list of "checksum  name" lines.
get_checked() {
	local sums want got
	sums=$3.sums
	get "$2" "$sums" || return 1
	want=$(awk -v name="$(basename "$1")" 'NF == 1 || $2 == name || $2 == "*" name { print $1; exit }' "$sums")
	rm -f "$sums"
	[[ $want =~ ^[0-9a-f]{64}$ ]] || return 1
	get "$1" "$3" || return 1
	got=$(sha256sum "$3" | cut -d' ' -f1)
	[[ $got == "$want" ]] || fail "$1 has the checksum $got, not the published $want"
}

download() { # TOOL VERSION DIR
	local tool=$1 version=$2 dir=$3 base name
	case "$tool" in
	etcd)
		name=etcd-$version-linux-$(arch)
		base=https://github.com/etcd-io/etcd/releases/download/$version
		get_checked "$base/$name.tar.gz" "$base/SHA256SUMS" "$dir/archive" || return 1
		tar -xzf "$dir/archive" -C "$dir" --strip-components=1 "$name/etcd"
		;;
	helm)
		base=https://get.helm.sh/helm-$version-linux-$(arch).tar.gz
		get_checked "$base" "$base.sha256sum" "$dir/archive" || return 1
		tar -xzf "$dir/archive" -C "$dir" --strip-components=1 "linux-$(arch)/helm"
		;;
	*)
		base=https://dl.k8s.io/$version/bin/linux/$(arch)/$tool
		get_checked "$base" "$base.sha256" "$dir/$tool" || return 1
		;;
	esac
}

probe_of() { # PROJECT VERSION
	case "$1" in
	kubernetes) echo "https://dl.k8s.io/$2/bin/linux/$(arch)/kubectl.sha256" ;;
	etcd) echo "https://github.com/etcd-io/etcd/releases/download/$2/SHA256SUMS" ;;
	helm) echo "https://get.helm.sh/helm-$2-linux-$(arch).tar.gz.sha256sum" ;;
	esac
}

# --- building ----------------------------------------------------------------

# ensure_go sets GO. Any Go from 1.21 on fetches the toolchain that a go.mod
# asks for by itself, as a module. Older ones (Debian 12 has 1.19) do not know
# how to, so they are only used to fetch that same module.
ensure_go() {
	local wanted module dir
	GO=go
	have go || [[ ! -x /usr/local/go/bin/go ]] || GO=/usr/local/go/bin/go
	have "$GO" || need_apt golang-go ca-certificates
	[[ $("$GO" env GOVERSION) =~ ^go1\.([0-9]+) ]] || fail "cannot tell the version of $GO"
	if ((BASH_REMATCH[1] >= 21)); then return 0; fi
	wanted=$(awk '$1 == "go" { print $2 }' "$ROOT/hack/tools/kubernetes/go.mod")
	module=golang.org/toolchain@v0.0.1-go$wanted.linux-$(arch)
	dir=$BERTH_CACHE/go/$wanted
	if [[ ! -x $dir/bin/go ]]; then
		say "fetching Go $wanted"
		fetch_go "$module" "$dir"
	fi
	GO=$dir/bin/go
}

# The module cache is read-only and without execute permission, hence the copy.
fetch_go() { # MODULE DIR
	local source tmp=$2.$$
	source=$(cd / && "$GO" mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
	[[ -d $source ]] || fail "could not fetch $1"
	mkdir -p "$(dirname "$2")"
	cp -r "$source" "$tmp"
	chmod -R u+w "$tmp"
	find "$tmp/bin" "$tmp/pkg/tool" -type f -exec chmod +x {} +
	mv -T "$tmp" "$2" 2>/dev/null || rm -rf "$tmp"
}

# What the official builds set, so that `kubectl version` and the API server's
# /version tell the truth.
ldflags_of() { # PROJECT VERSION
	local package minor
	printf -- '-s -w'
	case "$1" in
	kubernetes)
		minor=${2#v1.}
		for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
			printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s' \
				"$package" "$2" "$package" "$package" "${minor%%.*}"
		done
		;;
	helm) printf -- ' -X helm.sh/helm/v4/internal/version.version=%s' "$2" ;;
	esac
}

go_build() { # PROJECT VERSION DIR TOOL
	cd "$ROOT/hack/tools/$1"
	# The machine's own settings stay, as they may say where modules come from;
	# only what would change the result is set.
	CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=auto "$GO" build \
		-mod=readonly -trimpath -buildvcs=false \
		-ldflags "$(ldflags_of "$1" "$2")" -o "$3/$4" "$(package_of "$4")"
}

build() { # PROJECT VERSION DIR TOOL...
	local project=$1 version=$2 dir=$3 tool
	shift 3
	ensure_go
	say "building $* $version (minutes the first time)"
	for tool in "$@"; do
		# Hundreds of lines about modules, of interest only if it fails.
		if ! (go_build "$project" "$version" "$dir" "$tool") >"$dir/log" 2>&1; then
			grep -v '^go: downloading' "$dir/log" >&2 || true
			fail "could not build $tool"
		fi
	done
}

# --- putting it together -----------------------------------------------------

missing_in() { # STORE TOOL...
	local store=$1 tool
	shift
	for tool in "$@"; do
		[[ -x $store/$tool ]] || echo "$tool"
	done
}

# provide PROJECT TOOL... puts the tools into the cache, under a lock so that
# two checkouts do not build the same. A file gets its final name only when it
# is complete.
provide() {
	local project=$1 version store dir tool todo=() failed=()
	shift
	version=$(version_of "$project")
	store=$(store_of "$project")
	mkdir -p "$store"
	exec 8>"$store/../lock"
	if ! flock -n 8; then
		say "waiting for another run that provides $project"
		flock 8
	fi
	mapfile -t todo < <(missing_in "$store" "$@")
	((${#todo[@]})) || return 0
	need curl curl
	dir=$(mktemp -d "$store/.new.XXXXXX")
	# shellcheck disable=SC2064 # this directory, not a later one
	trap "rm -rf '$dir'" EXIT
	if reachable "$(probe_of "$project" "$version")"; then
		say "downloading ${todo[*]} $version"
		for tool in "${todo[@]}"; do
			download "$tool" "$version" "$dir" || failed+=("$tool")
		done
	else
		failed=("${todo[@]}")
	fi
	((${#failed[@]} == 0)) || build "$project" "$version" "$dir" "${failed[@]}"
	for tool in "${todo[@]}"; do
		chmod 755 "$dir/$tool"
		mv -f "$dir/$tool" "$store/$tool"
	done
	rm -rf "$dir"
}

link() { # TOOL STORE
	[[ $(readlink "$BIN/$1" 2>/dev/null) != "$2/$1" ]] || return 0
	ln -sfn "$2/$1" "$BIN/.$1.$$"
	mv -fT "$BIN/.$1.$$" "$BIN/$1"
}

main() {
	local tool project store
	local -A wanted=()
	(($#)) || set -- "${ALL[@]}"
	mkdir -p "$BIN"
	for tool in "$@"; do
		project=$(project_of "$tool")
		wanted[$project]+="$tool "
	done
	for project in kubernetes etcd helm; do
		[[ -n ${wanted[$project]:-} ]] || continue
		store=$(store_of "$project")
		read -r -a tools <<<"${wanted[$project]}"
		# In a subshell, which lets go of the lock when it ends.
		if [[ -n $(missing_in "$store" "${tools[@]}") ]]; then
			(provide "$project" "${tools[@]}")
		fi
		for tool in "${tools[@]}"; do link "$tool" "$store"; done
	done
}

main "$@"
