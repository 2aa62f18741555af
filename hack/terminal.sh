#!/usr/bin/env bash
# Fetches the terminal emulator of the terminal page in pinned versions, checks it, and puts the
# files that are served, with their licences, where the gateway embeds them. They are committed;
# this is needed only for another version.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

assets="$ROOT/src/gateway/terminal/assets"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take PACKAGE VERSION SHA512 FILE... (each FILE is FROM:TO)
take() {
	local package=$1 version=$2 sum=$3 archive found
	shift 3
	archive="$work/$(cd "$work" && npm pack --silent "$package@$version" 2>/dev/null | tail -n 1)"
	found=$(openssl dgst -sha512 -binary "$archive" | base64 -w 0)
	if [[ $found != "$sum" ]]; then
		echo "$package $version is not what it was: $found" >&2
		exit 1
	fi
	tar -xzf "$archive" -C "$work"
	for file in "$@"; do
		# The maps are not served, so nothing points to them.
		sed '/^\/\/# sourceMappingURL=/d' "$work/package/${file%%:*}" >"$assets/${file##*:}"
	done
	rm -rf "$work/package"
}

mkdir -p "$assets"
take @xterm/xterm 5.5.0 hqJHYaQb5OptNunnyAnkHyM8aCjZ1MEIDTQu1iIbbTD/xops91NB5yq1ZK/dC2JDbVWtF23zUtl9JE2NqwT87A== \
	lib/xterm.js:xterm.js css/xterm.css:xterm.css LICENSE:xterm.LICENSE
take @xterm/addon-fit 0.10.0 UFYkDm4HUahf2lnEyHvio51TNGiLK66mqP2JoATy7hRZeXaGMRDr00JiSF7m63vR5WKATF605yEggJKsw0JpMQ== \
	lib/addon-fit.js:addon-fit.js LICENSE:addon-fit.LICENSE
