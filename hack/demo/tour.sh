# shellcheck shell=bash
# What the demo shows.

apply() { # FILE...
	local file text
	for file in "$@"; do
		text=$(cat "examples/demo/$file")
		text=${text//GIT_SERVER_TLS/$GIT_ADDRESS:$((GIT_PORT + 1))}
		text=${text//GIT_SERVER/$GIT_ADDRESS:$GIT_PORT}
		text=${text//GIT_TOKEN/$(cat "$SERVED/token")}
		backend_adapt <<<"$text" | kubectl apply --filename -
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

# Until a Template is ready, or can not become so.
await_template() { # NAME
	local deadline=$((SECONDS + BUILDING)) phase
	until kubectl wait --namespace demo "template/$1" --for=condition=Ready --timeout=5s >/dev/null 2>&1; do
		proc_pid "$OPERATOR" >/dev/null || fail "the operator has ended"
		phase=$(kubectl get template --namespace demo "$1" --output 'jsonpath={.status.phase}')
		if [[ $phase == Failed ]] || ((SECONDS >= deadline)); then
			kubectl describe template --namespace demo "$1" >&2 || true
			fail "the Template $1 did not become ready"
		fi
	done
}

start_watching() { # KIND...
	typed kubectl get "$@" --namespace demo --watch
	kubectl get "$@" --namespace demo --watch 2>/dev/null 6>&- &
	WATCHER=$!
}

# The watch prints what it saw a moment later than it happened.
see_the_end() {
	sleep 0.3
	stop_watching
}

stop_watching() {
	[[ -n $WATCHER ]] || return 0
	kill "$WATCHER" 2>/dev/null || true
	wait "$WATCHER" 2>/dev/null || true
	WATCHER=
}

tour() {
	step "1. The backend, as the operator sees it"
	show berth backend check "$BACKEND" --config "$CONFIG"

	step "2. A Template, which workspaces are made from"
	apply secret.yaml >/dev/null
	start_watching templates --output wide
	apply "$TEMPLATE" >/dev/null
	await_template debian
	see_the_end

	step "3. Two Workspaces, one with a private repository"
	start_watching workspaces
	apply workspace.yaml private.yaml >/dev/null
	await hello ready condition=Ready
	await private ready condition=Ready
	see_the_end

	step "4. Their repositories are checked out; commands run in them by way of kubectl"
	# shellcheck disable=SC2016 # expanded in the workspace
	inside hello bash -lc 'ls -l /workspace; git -C /workspace log --oneline; echo $GREETING'
	inside private git -C /workspace log --oneline --decorate
	inside hello uname -a

	step "5. Dev servers run in a workspace, and have previews"
	apply devservers.yaml
	await_devserver web
	await_devserver api
	show kubectl get devservers --namespace demo
	show curl --silent "$(preview_of api)"
	show curl --silent "$(preview_of web)"
	see_hot_reload
	show kubectl berth ps --namespace demo hello
	show kubectl berth logs --namespace demo web --tail 5

	step "6. Suspended: the container is stopped, its files are kept"
	inside hello bash -lc 'date | tee /workspace/notes.txt'
	set_mode Suspended
	await hello suspended "jsonpath={.status.phase}=Suspended"
	show kubectl get workspaces --namespace demo

	step "7. Resumed: the same container, the same files, the same processes"
	set_mode Running
	await hello running "jsonpath={.status.phase}=Running"
	inside hello cat /workspace/notes.txt
	await_devserver web
	show kubectl get devservers --namespace demo

	step "8. A workspace that can not become ready says why in one line"
	apply broken.yaml
	await broken broken "jsonpath={.status.error.reason}=SecretNotFound"
	show kubectl get workspaces --namespace demo --output wide
	# It ends with 3 while something is wrong.
	show kubectl berth why --namespace demo broken || true

	step "9. The same workspaces, as the backend itself has them"
	backend_view
}

inside() { # WORKSPACE COMMAND...
	local workspace=$1
	shift
	show kubectl berth exec --namespace demo "$workspace" -- "$@"
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
	kubectl berth exec --namespace demo hello -- \
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
	TEXT
	backend_farewell
	printf '\nmake demo-down removes it all.\n'
}
