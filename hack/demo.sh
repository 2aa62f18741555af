#!/usr/bin/env bash
# The demo: a control plane, Docker, a git server, the operator, and workspaces that become ready,
# run dev servers with previews, are worked in, suspended and resumed.
#   hack/demo.sh up      starts what is not running and shows it; may be run again at any time
#   hack/demo.sh down    removes everything that it made, and says what stays
# Its state is in .local/demo; two checkouts do not get in each other's way.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

STATE=$LOCAL/demo
CONFIG=$STATE/berth.yaml
# Beside the state, so that the process is found even when somebody removed that.
OPERATOR=$LOCAL/demo.proc
LOG=$STATE/operator.log
# What the git server sees as /srv.
SERVED=$STATE/git-server
# Tells this checkout's demo from another's on the same Docker host.
HASH=$(printf '%s' "$ROOT" | sha256sum)
INSTANCE=demo-${HASH:0:8}
GIT=berth-$INSTANCE-git
# Seconds until a workspace has to be where it should.
PATIENCE=180

export KUBECONFIG=$LOCAL/kubeconfig PATH=$LOCAL/bin:$PATH

# --- saying what is done -------------------------------------------------------

step() {
	if [[ -t 1 ]]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

# A command the way it would be typed, quoted only where a shell needs it, and then run.
show() {
	local word line='$'
	for word in "$@"; do
		if [[ $word =~ ^[A-Za-z0-9_./:=@-]+$ ]]; then line+=" $word"; else line+=" '$word'"; fi
	done
	printf '%s\n' "$line"
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
	[[ ! -s $LOG ]] || {
		say "the last lines of the operator's log, $LOG:"
		tail -n 20 "$LOG" >&2
	}
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

# --- what the demo stands on ---------------------------------------------------

check_backend() {
	case ${DEMO_BACKEND:-docker} in
	docker) ;;
	proxmox) fail "DEMO_BACKEND=proxmox: this version has no Proxmox VE backend yet" ;;
	*) fail "DEMO_BACKEND=$DEMO_BACKEND: known is docker" ;;
	esac
}

# Where the docker command finds its daemon, which is where the operator has to look as well.
docker_endpoint() {
	local endpoint
	endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
	[[ $endpoint == unix://* ]] || fail "the demo needs Docker on this machine, not at $endpoint"
	printf '%s\n' "$endpoint"
}

prepare() {
	need curl curl openssl openssl
	hack/tools.sh kubectl kube-apiserver kube-controller-manager etcd
	hack/docker.sh up 6>&-
	hack/images.sh workspace node git-server 6>&-
	hack/cluster.sh up 6>&-
	# Not a release build: that takes several times as long, and `make test` uses this one's parts.
	say "building the operator (minutes the first time)"
	cargo build --quiet --locked --bin berth --bin kubectl-berth 6>&-
	AGENT=$(hack/agent.sh 6>&-)
	local binary="${CARGO_TARGET_DIR:-$ROOT/target}/debug/berth"
	# A copy, so that a later build does not change the file of a running process.
	if ! cmp -s "$binary" "$STATE/berth" || ! cmp -s "$AGENT" "$STATE/berth-agent"; then
		replace_operator "$binary"
	fi
	cp "${binary%/*}/kubectl-berth" "$STATE/kubectl-berth.new"
	mv -f "$STATE/kubectl-berth.new" "$STATE/kubectl-berth"
	ln -sfn "$STATE/berth" "$LOCAL/bin/berth"
	ln -sfn "$STATE/kubectl-berth" "$LOCAL/bin/kubectl-berth"
}

replace_operator() { # BINARY
	stop_operator
	cp "$1" "$STATE/berth.new"
	mv -f "$STATE/berth.new" "$STATE/berth"
	cp "$AGENT" "$STATE/berth-agent.new"
	mv -f "$STATE/berth-agent.new" "$STATE/berth-agent"
}

# --- the git server ------------------------------------------------------------

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

# --- the operator --------------------------------------------------------------

# Of 10.212.0.0 to 10.219.255.255 a part of this checkout's own.
network_range() {
	local number=$((16#${HASH:0:4}))
	printf '10.%s.%s.0/20\n' "$((212 + number % 8))" "$((number / 8 % 16 * 16))"
}

# Four ports in a row for the gateway, chosen once: they stand in addresses that people keep.
gateway_port() {
	local port
	if [[ ! -s $STATE/gateway-port ]]; then
		for port in $(seq 8480 4 8996); do
			if ! in_use "$port" && ! in_use $((port + 1)) && ! in_use $((port + 2)); then
				printf '%s\n' "$port" >"$STATE/gateway-port"
				break
			fi
		done
	fi
	cat "$STATE/gateway-port" 2>/dev/null || fail "no free ports from 8480 to 8999"
}

in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# What workspaces trust beside their image's authorities: the git server, and whatever this machine
# was told to trust, such as a proxy in front of the package registries.
make_bundle() {
	cat "$SERVED/tls.crt" >"$STATE/ca.crt.new"
	if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
		cat /etc/ssl/certs/ca-certificates.crt >>"$STATE/ca.crt.new"
	fi
	mv -f "$STATE/ca.crt.new" "$STATE/ca.crt"
}

write_config() {
	local port
	port=$(gateway_port)
	make_bundle
	cat >"$1" <<-YAML
		instance: $INSTANCE
		namespace: berth-system
		defaultBackend: docker
		backends:
		  - name: docker
		    docker:
		      hosts:
		        - name: local
		          endpoint: $(docker_endpoint)
		      networkRange: $(network_range)
		      caBundleFile: $STATE/ca.crt
		gateway:
		  listen: 0.0.0.0:$port
		  publicURL: http://localhost:$port
		  # Workspaces reach this machine at Docker's own bridge.
		  agentURLs: ["http://$GIT_ADDRESS:$port"]
		  aggregated: {listen: "127.0.0.1:$((port + 1))", service: berth}
		  internal: {listen: "127.0.0.1:$((port + 2))"}
		preview: {domain: localhost, scheme: http, port: $port}
		leaderElection: {duration: 6s, renewInterval: 2s}
		listen: 127.0.0.1:0
		log: {format: Text}
	YAML
}

ensure_namespace() {
	kubectl get namespace "$1" >/dev/null 2>&1 || kubectl create namespace "$1" >/dev/null
}

start_operator() {
	berth crds | kubectl apply --filename - >/dev/null
	ensure_namespace berth-system
	ensure_namespace demo
	write_config "$CONFIG.new"
	register_api
	cmp -s "$CONFIG.new" "$CONFIG" || stop_operator
	mv -f "$CONFIG.new" "$CONFIG"
	if proc_pid "$OPERATOR" >/dev/null; then return 0; fi
	say "starting the operator; its log is $LOG"
	NO_COLOR=1 setsid "$STATE/berth" run --config "$CONFIG" </dev/null >>"$LOG" 2>&1 6>&- &
	proc_record "$OPERATOR" "$!" || fail "the operator ended at once"
	# What is wrong with its configuration it says at once.
	sleep 1
	proc_pid "$OPERATOR" >/dev/null || fail "the operator ended at once"
}

# kube-apiserver finds the operator's API, which runs outside the cluster, by way of a Service that
# is only a name. The operator puts its certificate authority into the APIService itself.
register_api() {
	local port
	port=$(($(gateway_port) + 1))
	kubectl apply --filename - >/dev/null <<-YAML
		apiVersion: v1
		kind: Service
		metadata: {name: berth, namespace: berth-system}
		spec: {type: ExternalName, externalName: localhost, ports: [{port: $port}]}
		---
		apiVersion: apiregistration.k8s.io/v1
		kind: APIService
		metadata: {name: v1alpha1.subresources.berth.dev}
		spec:
		  group: subresources.berth.dev
		  version: v1alpha1
		  groupPriorityMinimum: 1000
		  versionPriority: 10
		  service: {namespace: berth-system, name: berth, port: $port}
	YAML
}

stop_operator() {
	local pid
	if pid=$(proc_pid "$OPERATOR"); then
		kill "$pid" 2>/dev/null || true
		wait_gone "$OPERATOR" 30 || kill -KILL "$pid" 2>/dev/null || true
	fi
	rm -f "$OPERATOR"
}

# --- what is shown -------------------------------------------------------------

apply() { # FILE...
	local file text
	for file in "$@"; do
		text=$(cat "examples/demo/$file")
		text=${text//GIT_SERVER_TLS/$GIT_ADDRESS:$((GIT_PORT + 1))}
		text=${text//GIT_SERVER/$GIT_ADDRESS:$GIT_PORT}
		text=${text//GIT_TOKEN/$(cat "$SERVED/token")}
		kubectl apply --filename - <<<"$text"
	done
}

# Waits in short turns, to notice an operator that ended.
await() { # NAME WHAT kubectl-wait-condition
	local deadline=$((SECONDS + PATIENCE))
	until kubectl wait --namespace demo "workspace/$1" --for="$3" --timeout=5s >/dev/null 2>&1; do
		proc_pid "$OPERATOR" >/dev/null || fail "the operator has ended"
		if ((SECONDS >= deadline)); then
			kubectl describe workspace --namespace demo "$1" >&2 || true
			fail "the workspace $1 was not $2 within $PATIENCE s"
		fi
	done
}

start_watching() {
	printf '$ kubectl get workspaces --namespace demo --watch\n'
	kubectl get workspaces --namespace demo --watch 2>/dev/null 6>&- &
	WATCHER=$!
}

stop_watching() {
	[[ -n $WATCHER ]] || return 0
	kill "$WATCHER" 2>/dev/null || true
	wait "$WATCHER" 2>/dev/null || true
	WATCHER=
}

container() { # WORKSPACE
	docker ps --filter "label=berth.dev/instance=$INSTANCE" --filter "name=^/?berth-demo\\.$1-" --format '{{.Names}}'
}

inside() { # WORKSPACE COMMAND...
	local name
	name=$(container "$1")
	[[ -n $name ]] || fail "the workspace $1 has no running container"
	shift
	show docker exec --user dev "$name" "$@"
}

tour() {
	step "1. A Template, and two Workspaces made from it, one with a private repository"
	apply template.yaml secret.yaml
	start_watching
	apply workspace.yaml private.yaml >/dev/null
	await hello ready condition=Ready
	await private ready condition=Ready
	# The watch prints what it saw a moment later than it happened.
	sleep 0.3
	stop_watching

	step "2. The repositories are checked out in them"
	# shellcheck disable=SC2016 # expanded in the workspace
	inside hello bash -lc 'ls -l /workspace; git -C /workspace log --oneline; echo $GREETING'
	inside private git -C /workspace log --oneline --decorate

	step "3. Dev servers run in a workspace, and have previews"
	apply devservers.yaml
	await_devserver web
	await_devserver api
	show kubectl get devservers --namespace demo
	show curl --silent "$(preview_of api)"
	show curl --silent "$(preview_of web)"
	see_hot_reload

	step "4. Commands, processes and logs, by way of kubectl"
	show kubectl berth exec --namespace demo hello -- uname -a
	show kubectl berth ps --namespace demo hello
	show kubectl berth logs --namespace demo web --tail 5

	step "5. Suspended: the container is stopped, its files are kept"
	inside hello bash -lc 'date | tee /workspace/notes.txt'
	set_mode Suspended
	await hello suspended "jsonpath={.status.phase}=Suspended"
	show kubectl get workspaces --namespace demo

	step "6. Resumed: the same container, the same files, the same processes"
	set_mode Running
	await hello running "jsonpath={.status.phase}=Running"
	inside hello cat /workspace/notes.txt
	await_devserver web
	show kubectl get devservers --namespace demo

	step "7. A workspace that can not become ready says why in one line"
	apply broken.yaml
	await broken broken "jsonpath={.status.error.reason}=SecretNotFound"
	show kubectl get workspaces --namespace demo --output wide
	# It ends with 3 while something is wrong.
	show kubectl berth why --namespace demo broken || true
}

await_devserver() { # NAME
	local deadline=$((SECONDS + PATIENCE))
	until kubectl wait --namespace demo "devserver/$1" --for=condition=Ready --timeout=5s >/dev/null 2>&1; do
		if ((SECONDS >= deadline)); then
			kubectl describe devserver --namespace demo "$1" >&2 || true
			fail "the dev server $1 was not ready within $PATIENCE s"
		fi
	done
}

preview_of() { # DEVSERVER
	kubectl get devserver --namespace demo "$1" --output 'jsonpath={.status.preview.url}'
}

# What a browser would be told: the page's script changed. The connection is a WebSocket, whose
# messages are readable where they are text.
see_hot_reload() {
	local url told=$STATE/hot-reload
	url=$(preview_of web)
	say "changing a file of the page, and listening to what its browser is told"
	curl --silent --no-buffer --http1.1 --max-time 20 --output "$told" \
		--header 'Connection: Upgrade' --header 'Upgrade: websocket' \
		--header 'Sec-WebSocket-Version: 13' --header 'Sec-WebSocket-Key: ZGVtbyBvZiBCZXJ0aCEhIQ==' \
		--header 'Sec-WebSocket-Protocol: vite-hmr' "$url" 6>&- &
	local listener=$!
	wait_for "the page's server says hello over its WebSocket" grep --quiet --text connected "$told"
	# Vite tells of a file once the browser has asked for it.
	curl --silent --fail --output /dev/null "${url}main.js"
	docker exec --user dev "$(container hello)" \
		sed -i "s/const greeting = .*/const greeting = 'changed at $(date +%T)'/" /workspace/main.js
	wait_for "the page's browser is told of the change" grep --quiet --text '"type":"update"' "$told"
	grep --text --only-matching '{"type":"update".*' "$told" | head -n 1
	kill "$listener" 2>/dev/null || true
	wait "$listener" 2>/dev/null || true
}

set_mode() {
	show kubectl patch workspace hello --namespace demo --type merge \
		--patch "{\"spec\":{\"operatingMode\":\"$1\"}}"
}

farewell() {
	cat <<-TEXT

		That was it; everything goes on running. To look around:

		  export KUBECONFIG=$KUBECONFIG PATH=$LOCAL/bin:\$PATH
		  kubectl get workspaces --all-namespaces --output wide
		  kubectl describe workspace --namespace demo broken
		  kubectl explain workspace.spec.repository
		  kubectl berth shell --namespace demo hello
		  kubectl get devservers --namespace demo

		The page is $(preview_of web)

		The operator's log is $LOG.
		make demo-down removes it all.
	TEXT
}

up() {
	check_backend
	lock
	mkdir -p "$STATE"
	trap when_done EXIT
	prepare
	start_git_server
	start_operator
	tour
	farewell
}

# --- removing it ---------------------------------------------------------------

docker_answers() { have docker && timeout 10 docker info >/dev/null 2>&1; }

# By the operator, while there is one; what it could not remove is removed below.
remove_workspaces() {
	proc_pid "$OPERATOR" >/dev/null || return 0
	kubectl get namespace demo --request-timeout 3s >/dev/null 2>&1 || return 0
	say "deleting the workspaces"
	kubectl delete workspaces --all --all-namespaces --timeout 60s >/dev/null ||
		say "the operator did not remove them all within 60 s"
}

leftovers() {
	local label
	for label in "berth.dev/instance=$INSTANCE" "berth.dev/demo=$INSTANCE"; do
		docker ps --all --filter "label=$label" --format 'container {{.Names}}'
		docker network ls --filter "label=$label" --format 'network {{.Name}}'
		docker volume ls --filter "label=$label" --format 'volume {{.Name}}'
	done
}

# Containers come first in the list, as they hold the others.
remove_leftovers() {
	local kind name
	while read -r kind name; do
		# The git server is none of the operator's.
		[[ $name == "$GIT" ]] || say "removing the $kind $name, which was left over"
		case $kind in
		container) docker rm --force --volumes "$name" ;;
		network) docker network rm "$name" ;;
		volume) docker volume rm --force "$name" ;;
		esac >/dev/null || true
	done < <(leftovers)
	local left
	left=$(leftovers)
	[[ -z $left ]] || fail "this could not be removed from Docker: ${left//$'\n'/, }"
}

# Only a Docker that was started by our scripts, and that nobody else uses by now.
stop_docker() {
	if [[ -z $(docker ps --quiet) ]]; then
		hack/docker.sh down
	else
		say "Docker is left as it is: other containers run on it"
	fi
}

down() {
	lock
	[[ -e $STATE ]] || say "there is no demo in this checkout; looking for what one may have left"
	remove_workspaces
	stop_operator
	hack/cluster.sh down 6>&-
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
