#!/usr/bin/env bash
# The demo: a control plane, Docker, a git server, the operator, and a workspace that becomes
# ready, is suspended and resumed.
#   hack/demo.sh up      starts what is not running and shows it; may be run again at any time
#   hack/demo.sh down    removes everything that it made, and says what stays
# Its state is in .local/demo; two checkouts do not get in each other's way.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

STATE=$LOCAL/demo
CONFIG=$STATE/berth.yaml
OPERATOR=$STATE/operator.proc
FORWARD=$STATE/forward.proc
LOG=$STATE/operator.log
# Tells this checkout's demo from another's on the same Docker host.
INSTANCE=demo-$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)
GIT=berth-$INSTANCE-git
PATIENCE=180

export KUBECONFIG=$LOCAL/kubeconfig PATH=$LOCAL/bin:$PATH

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Shows a command the way it would be typed, and runs it.
# Quoted only where a shell needs it.
shown() {
	local word
	for word in "$@"; do
		if [[ $word =~ ^[A-Za-z0-9_./:=@-]+$ ]]; then printf '%s ' "$word"; else printf "'%s' " "$word"; fi
	done
}
show() {
	printf '$ %s\n' "$(shown "$@")"
	"$@"
}

check_backend() {
	case ${DEMO_BACKEND:-docker} in
	docker) ;;
	proxmox) fail "DEMO_BACKEND=proxmox: this version has no Proxmox VE backend yet" ;;
	*) fail "DEMO_BACKEND=$DEMO_BACKEND: known is docker" ;;
	esac
}

prepare() {
	hack/tools.sh
	hack/docker.sh up
	hack/images.sh workspace git-server
	need socat socat git git
	hack/cluster.sh up
	say "building the operator"
	cargo build --quiet --locked --bin berth
	local binary="${CARGO_TARGET_DIR:-$ROOT/target}/debug/berth"
	# A copy, so that a later build does not change the file of a running process.
	if ! cmp -s "$binary" "$STATE/berth"; then
		stop_operator
		mkdir -p "$STATE"
		cp "$binary" "$STATE/berth.new"
		mv -f "$STATE/berth.new" "$STATE/berth"
	fi
	ln -sfn "$STATE/berth" "$LOCAL/bin/berth"
}

bridge_address() {
	local shown
	shown=$(docker network inspect bridge --format '{{with index .IPAM.Config 0}}{{or .Gateway .Subnet}}{{end}}')
	# Without a configured gateway it is the first address of the range.
	case $shown in
	*/*) shown=${shown%/*} shown=${shown%.*}.1 ;;
	esac
	printf '%s\n' "$shown"
}

make_repository() {
	local bare=$STATE/git/public/hello.git work
	[[ ! -d $bare ]] || return 0
	mkdir -p "$STATE/git/public" "$STATE/git/private"
	work=$(mktemp -d)
	cp -R examples/demo/app/. "$work"
	git -C "$work" init --quiet --initial-branch=main
	git -C "$work" add .
	git -C "$work" -c user.name=Demo -c user.email=demo@example.com commit --quiet --message 'A small application'
	git clone --quiet --bare "$work" "$bare.new"
	mv "$bare.new" "$bare"
	rm -rf "$work"
}

# Docker keeps its bridge networks apart, so workspaces reach the git server through a port on the
# host's own address on the default bridge.
start_git_server() {
	make_repository
	if ! docker inspect --format '{{.State.Running}}' "$GIT" 2>/dev/null | grep -q true; then
		say "starting a git server"
		docker rm --force "$GIT" >/dev/null 2>&1 || true
		docker run --detach --name "$GIT" --label "berth.dev/demo=$INSTANCE" \
			--volume "$STATE/git:/srv/git" berth-demo/git-server:bookworm >/dev/null
		stop_recorded "$FORWARD"
	fi
	if ! proc_pid "$FORWARD" >/dev/null; then
		local inside port
		inside=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' "$GIT")
		port=$(free_port)
		setsid socat "TCP-LISTEN:$port,bind=$(bridge_address),fork,reuseaddr" "TCP:$inside:80" \
			</dev/null >>"$STATE/forward.log" 2>&1 &
		proc_record "$FORWARD" "$!"
		printf '%s:%s\n' "$(bridge_address)" "$port" >"$STATE/git-address"
	fi
	wait_for "the git server answers" curl --silent --fail --output /dev/null \
		"http://$(cat "$STATE/git-address")/git/public/hello.git/info/refs?service=git-upload-pack"
}

free_port() {
	local port
	for port in $(seq 18400 18999); do
		(exec 3<>"/dev/tcp/$(bridge_address)/$port") 2>/dev/null || {
			printf '%s\n' "$port"
			return
		}
	done
	fail "no free port from 18400 to 18999"
}

wait_for() { # WHAT COMMAND...
	local what=$1 deadline=$((SECONDS + 30))
	shift
	until "$@" 2>/dev/null; do
		((SECONDS < deadline)) || fail "waited in vain until $what"
		sleep 0.1
	done
}

write_config() {
	cat >"$CONFIG" <<-YAML
		instance: $INSTANCE
		namespace: berth-system
		defaultBackend: docker
		backends:
		  - name: docker
		    tenantsMaySet: [docker.host]
		    docker:
		      hosts:
		        - name: local
		          endpoint: unix:///var/run/docker.sock
		      networkRange: 10.221.0.0/16
		leaderElection: {duration: 6s, renewInterval: 2s}
		listen: 127.0.0.1:0
		log: {format: Text}
	YAML
}

start_operator() {
	berth crds | kubectl apply --filename - >/dev/null
	kubectl create namespace berth-system --dry-run=client --output yaml | kubectl apply --filename - >/dev/null
	kubectl create namespace demo --dry-run=client --output yaml | kubectl apply --filename - >/dev/null
	write_config
	proc_pid "$OPERATOR" >/dev/null && return 0
	say "starting the operator; its log is .local/demo/operator.log"
	NO_COLOR=1 setsid "$STATE/berth" run --config "$CONFIG" </dev/null >>"$LOG" 2>&1 &
	proc_record "$OPERATOR" "$!"
}

stop_recorded() {
	local pid
	pid=$(proc_pid "$1") || { rm -f "$1"; return 0; }
	kill "$pid" 2>/dev/null || true
	wait_gone "$1" 30 || kill -9 "$pid" 2>/dev/null || true
	rm -f "$1"
}

stop_operator() { stop_recorded "$OPERATOR"; }

apply() {
	sed "s|GIT_SERVER|$(cat "$STATE/git-address")|" "examples/demo/$1" | kubectl apply --filename -
}

# Waits for a condition of the workspace, and says what is wrong when it does not come.
await_workspace() { # NAME WHAT JSONPATH VALUE
	if ! kubectl wait --namespace demo "workspace/$1" --for="jsonpath=$3=$4" --timeout="${PATIENCE}s" >/dev/null; then
		kubectl describe workspace --namespace demo "$1" >&2 || true
		tail -n 30 "$LOG" >&2
		fail "the workspace did not become $2; the operator's log is $LOG"
	fi
}

watch_until_ready() {
	printf '$ kubectl get workspaces --namespace demo --watch\n'
	kubectl get workspaces --namespace demo --watch &
	local watcher=$!
	apply workspace.yaml >/dev/null
	await_workspace hello ready '{.status.phase}' Running
	kill "$watcher" 2>/dev/null || true
	wait "$watcher" 2>/dev/null || true
}

container() {
	docker ps --filter "label=berth.dev/instance=$INSTANCE" --filter "name=berth-demo.hello-" --format '{{.Names}}'
}

tour() {
	step "1. A Template, and a Workspace made from it"
	apply template.yaml
	watch_until_ready
	step "2. The repository is checked out in it"
	show docker exec --user dev "$(container)" bash -lc "ls -l /workspace; git -C /workspace log --oneline; echo \$GREETING"
	step "3. Suspended: the container is stopped, its files are kept"
	docker exec --user dev "$(container)" bash -lc 'date > /workspace/notes.txt'
	show kubectl patch workspace hello --namespace demo --type merge --patch '{"spec":{"operatingMode":"Suspended"}}'
	await_workspace hello suspended '{.status.phase}' Suspended
	show kubectl get workspaces --namespace demo --output wide
	step "4. Resumed: the same container, the same files"
	show kubectl patch workspace hello --namespace demo --type merge --patch '{"spec":{"operatingMode":"Running"}}'
	await_workspace hello running '{.status.phase}' Running
	show docker exec --user dev "$(container)" cat /workspace/notes.txt
	step "5. A workspace that can not become ready says why"
	apply broken.yaml
	await_workspace broken broken '{.status.error.reason}' SecretNotFound
	show kubectl get workspaces --namespace demo --output wide
}

farewell() {
	cat <<-TEXT

		That was it; everything goes on running. To look around:

		  export KUBECONFIG=$KUBECONFIG PATH=$LOCAL/bin:\$PATH
		  kubectl get workspaces --all-namespaces --output wide
		  kubectl describe workspace --namespace demo broken
		  kubectl explain workspace.spec
		  docker exec --interactive --tty --user dev $(container) bash -l

		make demo-down removes it all.
	TEXT
}

up() {
	check_backend
	mkdir -p "$STATE"
	prepare
	start_git_server
	start_operator
	tour
	farewell
}

remove_workspaces() {
	"$LOCAL/bin/kubectl" version --request-timeout 3s >/dev/null 2>&1 || return 0
	proc_pid "$OPERATOR" >/dev/null || return 0
	say "deleting the workspaces"
	kubectl delete workspaces --all --all-namespaces --timeout 60s >/dev/null 2>&1 || true
}

# What an operator that was killed could not remove.
remove_leftovers() {
	docker info >/dev/null 2>&1 || return 0
	local filter="label=berth.dev/instance=$INSTANCE" names
	mapfile -t names < <(docker ps --all --quiet --filter "$filter")
	((${#names[@]} == 0)) || docker rm --force "${names[@]}" >/dev/null
	mapfile -t names < <(docker network ls --quiet --filter "$filter")
	((${#names[@]} == 0)) || docker network rm "${names[@]}" >/dev/null
	mapfile -t names < <(docker volume ls --quiet --filter "$filter")
	((${#names[@]} == 0)) || docker volume rm --force "${names[@]}" >/dev/null
	docker rm --force --volumes "$GIT" >/dev/null 2>&1 || true
}

# Only a Docker that was started by our scripts, and that nobody else uses by now.
stop_docker() {
	docker info >/dev/null 2>&1 || return 0
	if [[ -z $(docker ps --quiet) ]]; then
		hack/docker.sh down
	else
		say "Docker goes on: other containers run on it"
	fi
}

down() {
	remove_workspaces
	stop_operator
	stop_recorded "$FORWARD"
	remove_leftovers
	hack/cluster.sh down
	rm -rf "$STATE" "$LOCAL/bin/berth"
	stop_docker
	say "the demo is gone; tools and images stay in $BERTH_CACHE and in Docker"
}

case ${1:-} in
up) up ;;
down) down ;;
*) fail "usage: hack/demo.sh up|down" ;;
esac
