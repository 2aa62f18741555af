# shellcheck shell=bash disable=SC2034 # variables are for the other files
# The demo's git server, with a public and a private repository.

# What the git server sees as /srv.
SERVED=$STATE/git-server
GIT=berth-$INSTANCE-git

bridge_address() {
	local found
	found=$(docker network inspect bridge --format '{{with index .IPAM.Config 0}}{{or .Gateway .Subnet}}{{end}}')
	# Without a configured gateway it is the first address of the range.
	case $found in
	*/*) found=${found%/*} found=${found%.*}.1 ;;
	esac
	printf '%s\n' "$found"
}

commit() { # FOLDER MESSAGE
	git -C "$1" add .
	git -C "$1" -c user.name=Demo -c user.email=demo@example.com -c commit.gpgsign=false \
		commit --quiet --message "$2"
}

# make_repository SOURCE BARE [BRANCH]: a repository of a folder's files, once.
make_repository() {
	local work
	[[ ! -d $2 ]] || return 0
	mkdir -p "$(dirname "$2")"
	work=$(mktemp -d "$STATE/work.XXXXXX")
	cp -R "$1/." "$work"
	git -C "$work" init --quiet --initial-branch=main
	commit "$work" 'A small application'
	if [[ -n ${3:-} ]]; then
		git -C "$work" checkout --quiet -b "$3"
		echo 'Totals are next.' >>"$work/README.md"
		commit "$work" 'What comes next'
		git -C "$work" checkout --quiet main
	fi
	rm -rf "$2.new"
	git clone --quiet --bare "$work" "$2.new"
	mv "$2.new" "$2"
	rm -rf "$work"
}

make_certificate() { # ADDRESS
	openssl x509 -checkend 86400 -checkip "$1" -noout -in "$SERVED/tls.crt" 2>/dev/null |
		grep -q 'does match' && return 0
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
		-subj "/CN=$GIT" -addext "subjectAltName=IP:$1" \
		-keyout "$SERVED/tls.key" -out "$SERVED/tls.crt" 2>/dev/null
}

make_served() { # ADDRESS
	mkdir -p "$SERVED/git"
	make_repository examples/demo/app "$SERVED/git/public/hello.git"
	make_repository examples/demo/app "$SERVED/git/private/ledger.git" feature/totals
	[[ -s $SERVED/token ]] || (umask 077 && openssl rand -hex 16 >"$SERVED/token")
	make_certificate "$1"
}

# Two ports next to each other on the given address that nothing listens on.
free_ports() {
	local port
	for port in $(seq 18400 2 18998); do
		if ! (exec 3<>"/dev/tcp/$1/$port") 2>/dev/null && ! (exec 3<>"/dev/tcp/$1/$((port + 1))") 2>/dev/null; then
			printf '%s\n' "$port"
			return
		fi
	done
	fail "no free ports from 18400 to 18999 on $1"
}

git_answers() {
	[[ -s $STATE/git-port ]] && curl --silent --fail --max-time 3 --output /dev/null \
		"http://$1:$(cat "$STATE/git-port")/git/public/hello.git/info/refs?service=git-upload-pack"
}

# Docker keeps its bridge networks apart, so workspaces reach the git server through ports on the
# host's own address on the default bridge. The ports stay the same, as they stand in the
# workspaces' specs.
run_git_server() { # ADDRESS
	docker rm --force --volumes "$GIT" >/dev/null 2>&1 || true
	[[ -s $STATE/git-port ]] || free_ports "$1" >"$STATE/git-port"
	local port
	port=$(cat "$STATE/git-port")
	docker run --detach --name "$GIT" --label "berth.dev/demo=$INSTANCE" --restart unless-stopped \
		--publish "$1:$port:80" --publish "$1:$((port + 1)):443" \
		--volume "$SERVED:/srv" berth-demo/git-server:bookworm >/dev/null
}

start_git_server() {
	local address
	address=$(bridge_address)
	make_served "$address"
	if ! git_answers "$address"; then
		say "starting a git server"
		if ! run_git_server "$address"; then
			# Somebody else took the ports since.
			rm -f "$STATE/git-port"
			run_git_server "$address"
		fi
		wait_for "the git server answers" git_answers "$address"
	fi
	GIT_PORT=$(cat "$STATE/git-port")
	GIT_ADDRESS=$address
}
