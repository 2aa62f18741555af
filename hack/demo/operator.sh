# shellcheck shell=bash
# The operator of the demo: its programs, its configuration, its process.

build() {
	# Not a release build: that takes several times as long, and `make test` uses this one's parts.
	say "building the operator (minutes the first time)"
	cargo build --quiet --locked --bin berth --bin kubectl-berth 6>&-
	AGENT=$(hack/agent.sh 6>&-)
	local binary="${CARGO_TARGET_DIR:-$ROOT/target}/debug/berth"
	# A copy, so that a later build does not change the file of a running process.
	if ! cmp -s "$binary" "$STATE/berth" || ! cmp -s "$AGENT" "$STATE/berth-agent"; then
		replace_operator "$binary"
	fi
	put "${binary%/*}/kubectl-berth" "$STATE/kubectl-berth"
	ln -sfn "$STATE/berth" "$LOCAL/bin/berth"
	ln -sfn "$STATE/kubectl-berth" "$LOCAL/bin/kubectl-berth"
}

# Whoever looks sees the whole file, the old one or the new one.
put() { # FROM TO
	cp "$1" "$2.new"
	mv -f "$2.new" "$2"
}

replace_operator() { # BINARY
	stop_process "$OPERATOR"
	put "$1" "$STATE/berth"
	put "$AGENT" "$STATE/berth-agent"
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
	local port its_part
	port=$(gateway_port)
	its_part=$(backend_config)
	make_bundle
	cat >"$1" <<-YAML
		instance: $INSTANCE
		namespace: berth-system
		defaultBackend: $BACKEND
		backends:
		$its_part
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
	cmp -s "$CONFIG.new" "$CONFIG" || stop_process "$OPERATOR"
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
