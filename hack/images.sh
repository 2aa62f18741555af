#!/usr/bin/env bash
# Makes the images that the demo and the tests start from available in Docker:
#   hack/images.sh [NAME]...      (all if none is named)
# as berth-demo/NAME:bookworm. hack/images/NAME is an image's recipe; it is made
# again only when that changes. The Debian below is pulled where a registry can
# be reached, else put together from Debian's packages, which is kept in
# $BERTH_CACHE/images. Says nothing when there is nothing to do.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RECIPES=$ROOT/hack/images
STORE=$BERTH_CACHE/images
SUITE=bookworm
UPSTREAM=debian:$SUITE-slim
LABEL=berth.dev/recipe

recipe_hash() { # NAME
	(
		cd "$RECIPES/$1"
		find . -type f -exec sha256sum {} + | sort -k 2 | sha256sum | cut -c1-16
	)
}

# The base depends on its list of packages alone.
base_hash() { # NAME
	{
		echo "$SUITE"
		packages_of "$1"
	} | sha256sum | cut -c1-16
}

packages_of() { grep -v '^#' "$RECIPES/$1/packages"; }

image_of() { echo "berth-demo/$1:$SUITE"; }

label_of() {
	docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null || true
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Docker without the buildx plugin has only the builder it calls legacy.
build() {
	if docker buildx version >/dev/null 2>&1; then
		docker build -q "$@"
	else
		DOCKER_BUILDKIT=0 docker build -q "$@" 2>/dev/null
	fi
}

# --- the base ------------------------------------------------------------------

pulled_base() { # NAME IMAGE
	has_image "$UPSTREAM" || timeout 300 docker pull -q "$UPSTREAM" >/dev/null 2>&1 || return 1
	say "installing packages into $UPSTREAM for $(image_of "$1")"
	build -t "$2" - >/dev/null <<-EOF
		FROM $UPSTREAM
		RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		    $(packages_of "$1" | tr '\n' ' ') && rm -rf /var/lib/apt/lists/*
	EOF
}

# Everything but the manuals; a file gets its name only when it is complete.
bootstrap() { # NAME FILE
	need mmdebstrap mmdebstrap
	[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || need_apt debian-archive-keyring
	say "putting together a Debian for $(image_of "$1") from packages"
	mkdir -p "$STORE"
	if ! as_root mmdebstrap --quiet --variant=minbase \
		--include="$(packages_of "$1" | paste -sd,)" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--format=tar "$SUITE" - >"$2.new" 2>"$2.log"; then
		tail -n 20 "$2.log" >&2
		rm -f "$2.new"
		fail "mmdebstrap failed, see $2.log"
	fi
	rm -f "$2.log"
	mv -f "$2.new" "$2"
}

ensure_base() { # NAME IMAGE
	local file
	file=$STORE/$1-$(base_hash "$1").tar
	if has_image "$2"; then return 0; fi
	if [[ ! -f $file ]]; then
		if pulled_base "$1" "$2"; then return 0; fi
		bootstrap "$1" "$file"
	fi
	docker import "$file" "$2" >/dev/null
}

# --- the image -----------------------------------------------------------------

ensure_image() { # NAME
	local image base hash
	[[ -f $RECIPES/$1/Dockerfile ]] || fail "no image $1; known: $(cd "$RECIPES" && echo *)"
	image=$(image_of "$1")
	hash=$(recipe_hash "$1")
	if [[ $(label_of "$image") == "$hash" ]]; then return 0; fi
	# One run at a time for an image, so that two do not do the same work.
	mkdir -p "$STORE"
	exec 8>"$STORE/$1.lock"
	flock 8
	if [[ $(label_of "$image") == "$hash" ]]; then return 0; fi
	base=berth-demo/base:$1-$(base_hash "$1")
	ensure_base "$1" "$base"
	say "building $image"
	build -t "$image" --build-arg "BASE=$base" --label "$LABEL=$hash" "$RECIPES/$1" >/dev/null ||
		fail "docker build failed for $image; to see why: DOCKER_BUILDKIT=0 docker build --build-arg BASE=$base $RECIPES/$1"
}

main() {
	local name
	if ((!$#)); then
		cd "$RECIPES"
		set -- *
	fi
	"$ROOT/hack/docker.sh" up
	for name in "$@"; do
		name=${name#berth-demo/}
		ensure_image "${name%:*}"
	done
}

main "$@"
