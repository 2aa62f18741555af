#!/usr/bin/env bash
# A Kubernetes control plane in the foreground: etcd, kube-apiserver and
# kube-controller-manager as real binaries, on 127.0.0.1.
#
#   hack/control-plane.sh run DIR [--stop-on-stdin-eof]
#
# Prints `ready` once the API server is ready and the default service account
# exists; DIR/kubeconfig (cluster admin) and DIR/ca.crt are there by then. Logs
# are DIR/*.log. Runs until SIGTERM, SIGINT or SIGHUP, until standard input
# ends if asked to, or until one of the three processes ends, and then stops all
# of them; they also die with this script if it is killed. Run again on the
# same DIR it comes back with the same data, ports and certificates.
#
# BERTH_AUDIT_LOG=FILE   log each request that was answered to FILE, as JSON
# BERTH_REMOVE_ON_STOP=yes  remove DIR once all has stopped
# BERTH_START_TIMEOUT=N  seconds until it has to be ready (default 120)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BIN=$LOCAL/bin
SERVICE_RANGE=10.96.0.0/16
FIRST_SERVICE_IP=10.96.0.1
TIMEOUT=${BERTH_START_TIMEOUT:-120}

# name -> pid of what runs.
declare -A PIDS=()

# --- certificates --------------------------------------------------------------

new_key() {
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

new_ca() { # NAME
	new_key "$PKI/$1.key"
	openssl req -x509 -new -sha256 -days 3650 -key "$PKI/$1.key" -subj "/CN=berth-$1" \
		-config <(printf '%s\n' '[req]' distinguished_name=name x509_extensions=ca '[name]' '[ca]' \
			basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign \
			subjectKeyIdentifier=hash) \
		-out "$PKI/$1.crt"
}

new_cert() { # NAME CA SUBJECT USAGE [SUBJECT_ALT_NAMES]
	local extensions="basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=$4"
	[[ -z ${5:-} ]] || extensions+=$'\n'"subjectAltName=$5"
	new_key "$PKI/$1.key"
	openssl req -new -sha256 -key "$PKI/$1.key" -subj "$3" |
		openssl x509 -req -sha256 -days 3650 -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" \
			-set_serial "0x$(openssl rand -hex 16)" -extfile <(printf '%s\n' "$extensions") \
			-out "$PKI/$1.crt" 2>/dev/null
}

# Three authorities, because whom the API server trusts as a client, as a proxy
# in front of it and as its own etcd are three different questions.
make_pki() {
	PKI=$DIR/pki
	if [[ ! -f $PKI/complete ]]; then
		rm -rf "$PKI"
		mkdir -p "$PKI"
		new_ca ca
		new_ca front-proxy-ca
		new_ca etcd-ca
		new_cert apiserver ca /CN=kube-apiserver serverAuth \
			"DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$FIRST_SERVICE_IP"
		new_cert admin ca /O=system:masters/CN=berth-admin clientAuth
		new_cert controller-manager ca /CN=system:kube-controller-manager clientAuth
		new_cert front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
		new_cert etcd etcd-ca /CN=etcd serverAuth,clientAuth DNS:localhost,IP:127.0.0.1
		new_cert etcd-client etcd-ca /CN=kube-apiserver clientAuth
		new_key "$PKI/service-account.key"
		openssl pkey -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub"
		touch "$PKI/complete"
	fi
	cp "$PKI/ca.crt" "$DIR/ca.crt"
}

base64_of() { base64 <"$1" | tr -d '\n'; }

write_kubeconfig() { # FILE CERTIFICATE
	cat >"$1" <<-EOF
		apiVersion: v1
		kind: Config
		current-context: berth-local
		clusters:
		- name: berth-local
		  cluster:
		    server: https://127.0.0.1:$API_PORT
		    certificate-authority-data: $(base64_of "$PKI/ca.crt")
		contexts:
		- name: berth-local
		  context: {cluster: berth-local, user: $2}
		users:
		- name: $2
		  user:
		    client-certificate-data: $(base64_of "$PKI/$2.crt")
		    client-key-data: $(base64_of "$PKI/$2.key")
	EOF
}

# --- ports ---------------------------------------------------------------------

in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Held as a lock on a file for as long as this control plane runs (the children
# inherit it), so that no other one takes the port before it is bound.
reserve() { # PORT
	local lock
	exec {lock}>>"$BERTH_CACHE/ports/$1"
	if ! flock -n "$lock"; then
		exec {lock}>&-
		return 1
	fi
}

# Below the range from which the system gives out ports by itself, so that no
# client's connection and no server on "any port" comes to sit on ours.
pick_port() { # VARIABLE
	local candidate
	for _ in {1..200}; do
		candidate=$((20000 + SRANDOM % 10000))
		if ! in_use "$candidate" && reserve "$candidate"; then
			printf -v "$1" '%s' "$candidate"
			return 0
		fi
	done
	fail "found no free port"
}

pick_ports() {
	local port
	mkdir -p "$BERTH_CACHE/ports"
	if [[ -f $DIR/ports ]]; then
		read -r API_PORT ETCD_PORT PEER_PORT <"$DIR/ports"
		for port in "$API_PORT" "$ETCD_PORT" "$PEER_PORT"; do
			if in_use "$port" || ! reserve "$port"; then
				fail "port $port of the control plane in $DIR is in use by another program"
			fi
		done
	else
		pick_port API_PORT
		pick_port ETCD_PORT
		pick_port PEER_PORT
		echo "$API_PORT $ETCD_PORT $PEER_PORT" >"$DIR/ports"
	fi
}

# --- processes -----------------------------------------------------------------

# start NAME COMMAND... The kernel kills the process when this shell, its
# direct parent, ends in whatever way. Nothing may come between the two.
start() {
	local name=$1
	shift
	setpriv --pdeathsig KILL -- "$@" </dev/null >>"$DIR/$name.log" 2>&1 {WATCH}<&- &
	PIDS[$name]=$!
}

start_etcd() {
	# No fsync: the data need to survive this process, not the machine. The
	# short election only makes a lone member start sooner.
	start etcd "$BIN/etcd" --name berth --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
		--heartbeat-interval 50 --election-timeout 500 \
		--listen-client-urls "https://127.0.0.1:$ETCD_PORT" \
		--advertise-client-urls "https://127.0.0.1:$ETCD_PORT" \
		--listen-peer-urls "https://127.0.0.1:$PEER_PORT" \
		--initial-advertise-peer-urls "https://127.0.0.1:$PEER_PORT" \
		--initial-cluster "berth=https://127.0.0.1:$PEER_PORT" \
		--cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" \
		--client-cert-auth --trusted-ca-file "$PKI/etcd-ca.crt" \
		--peer-cert-file "$PKI/etcd.crt" --peer-key-file "$PKI/etcd.key" \
		--peer-client-cert-auth --peer-trusted-ca-file "$PKI/etcd-ca.crt"
}

audit_flags() {
	[[ -n ${BERTH_AUDIT_LOG:-} ]] || return 0
	cat >"$DIR/audit-policy.yaml" <<-EOF
		apiVersion: audit.k8s.io/v1
		kind: Policy
		omitStages: [RequestReceived, ResponseStarted, Panic]
		rules:
		- level: Metadata
	EOF
	# The size keeps it in one file for whoever counts its lines.
	printf '%s\n' --audit-policy-file="$DIR/audit-policy.yaml" \
		--audit-log-path="$(realpath -m "$BERTH_AUDIT_LOG")" --audit-log-maxsize=100000
}

start_apiserver() {
	local audit
	mapfile -t audit < <(audit_flags)
	# No endpoint reconciler: it would only complain that 127.0.0.1 is no
	# address for the endpoints of the service "kubernetes".
	start kube-apiserver "$BIN/kube-apiserver" \
		--bind-address 127.0.0.1 --secure-port "$API_PORT" --advertise-address 127.0.0.1 \
		--endpoint-reconciler-type none \
		--etcd-servers "https://127.0.0.1:$ETCD_PORT" --etcd-cafile "$PKI/etcd-ca.crt" \
		--etcd-certfile "$PKI/etcd-client.crt" --etcd-keyfile "$PKI/etcd-client.key" \
		--tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
		--client-ca-file "$PKI/ca.crt" --authorization-mode RBAC \
		--service-account-issuer https://kubernetes.default.svc.cluster.local \
		--service-account-key-file "$PKI/service-account.pub" \
		--service-account-signing-key-file "$PKI/service-account.key" \
		--service-cluster-ip-range "$SERVICE_RANGE" \
		--requestheader-client-ca-file "$PKI/front-proxy-ca.crt" \
		--requestheader-allowed-names front-proxy-client \
		--requestheader-username-headers X-Remote-User \
		--requestheader-uid-headers X-Remote-Uid \
		--requestheader-group-headers X-Remote-Group \
		--requestheader-extra-headers-prefix X-Remote-Extra- \
		--proxy-client-cert-file "$PKI/front-proxy-client.crt" \
		--proxy-client-key-file "$PKI/front-proxy-client.key" \
		--enable-aggregator-routing \
		"${audit[@]}"
}

start_controller_manager() {
	write_kubeconfig "$DIR/controller-manager.kubeconfig" controller-manager
	# The client limits are raised because nothing else uses this API server;
	# they decide how fast a namespace full of objects goes away.
	start kube-controller-manager "$BIN/kube-controller-manager" \
		--kubeconfig "$DIR/controller-manager.kubeconfig" --secure-port 0 --leader-elect=false \
		--use-service-account-credentials --root-ca-file "$PKI/ca.crt" \
		--service-account-private-key-file "$PKI/service-account.key" \
		--cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" \
		--service-cluster-ip-range "$SERVICE_RANGE" \
		--kube-api-qps 200 --kube-api-burst 400
}

# watch_stdin yes|no sets WATCH to what `pause` reads from: standard input if
# its end is to stop us, else a pipe on which nothing ever arrives.
watch_stdin() {
	if [[ $1 == yes ]]; then
		exec {WATCH}<&0
	else
		exec {WATCH}<> <(:)
	fi
}

# pause SECONDS, in the shell itself so that a signal interrupts it; ends the
# script at the end of what is watched.
pause() {
	local rc=0
	read -r -t "$1" -u "$WATCH" _ || rc=$?
	((rc == 0 || rc > 128)) || exit 0
}

alive() { kill -0 "$1" 2>/dev/null; }

check_children() {
	local name
	for name in "${!PIDS[@]}"; do
		alive "${PIDS[$name]}" && continue
		tail -n 5 "$DIR/$name.log" >&2
		fail "$name has ended, see $DIR/$name.log"
	done
}

# stop_some SECONDS NAME...
# shellcheck disable=SC2317 # called by a trap
stop_some() {
	local name deadline=$((SECONDS + $1)) left
	shift
	for name in "$@"; do
		[[ -z ${PIDS[$name]:-} ]] || kill -TERM "${PIDS[$name]}" 2>/dev/null || true
	done
	while ((SECONDS < deadline)); do
		left=0
		for name in "$@"; do
			if [[ -n ${PIDS[$name]:-} ]] && alive "${PIDS[$name]}"; then left=1; fi
		done
		((left)) || break
		sleep 0.05
	done
	for name in "$@"; do
		if [[ -n ${PIDS[$name]:-} ]] && alive "${PIDS[$name]}"; then
			kill -KILL "${PIDS[$name]}" 2>/dev/null || true
		fi
	done
}

# etcd goes last: the other two would wait for it. The API server would also
# wait for its watches, which is what the short limit is for.
# shellcheck disable=SC2317 # called by a trap
stop_all() {
	trap '' TERM INT HUP
	stop_some 3 kube-controller-manager kube-apiserver
	stop_some 3 etcd
	wait || true
	# Whoever holds our standard input may be gone by now, so nobody else can do this.
	[[ -z ${BERTH_REMOVE_ON_STOP:-} ]] || rm -rf "$DIR"
}

# --- readiness -----------------------------------------------------------------

kube() { "$BIN/kubectl" --kubeconfig "$DIR/kubeconfig.new" --request-timeout 5s "$@" >/dev/null 2>&1; }

is_ready() {
	kube get --raw /readyz && kube get namespace default kube-system &&
		kube -n default get serviceaccount default
}

wait_ready() {
	local deadline=$((SECONDS + TIMEOUT))
	until is_ready; do
		check_children
		((SECONDS < deadline)) || fail "not ready within $TIMEOUT s, see $DIR/*.log"
		pause 0.1
	done
}

run() { # DIR WATCH_STDIN
	need openssl openssl setpriv util-linux flock util-linux
	"$ROOT/hack/tools.sh" kubectl etcd kube-apiserver kube-controller-manager >&2
	# What follows holds private keys.
	umask 077
	mkdir -p "$1"
	DIR=$(cd "$1" && pwd -P)
	watch_stdin "$2"
	# The children inherit this lock, too: it is free only when the last
	# process of an earlier run has gone.
	exec 9>>"$DIR/lock"
	flock -w 10 9 || fail "a control plane runs in $DIR already"
	make_pki
	pick_ports
	write_kubeconfig "$DIR/kubeconfig.new" admin
	trap 'exit 0' TERM INT HUP
	trap stop_all EXIT
	start_etcd
	start_apiserver
	start_controller_manager
	wait_ready
	mv -f "$DIR/kubeconfig.new" "$DIR/kubeconfig"
	echo ready
	while true; do
		check_children
		pause 0.5
	done
}

usage() { fail "usage: hack/control-plane.sh run DIR [--stop-on-stdin-eof]"; }

[[ ${1:-} == run && -n ${2:-} ]] || usage
case "$#:${3:-}" in
2:) run "$2" no ;;
3:--stop-on-stdin-eof) run "$2" yes ;;
*) usage ;;
esac
