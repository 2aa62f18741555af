# shellcheck shell=bash disable=SC2034 # variables are for the other files
# The demo on Proxmox VE: a simulated cluster of two nodes (tests/proxmox-simulator), whose
# containers are Docker's. Its state is in its process: a cluster that ended is gone.

CLUSTER=$STATE/proxmox
LOGS+=("$CLUSTER/simulator.log")
BACKEND_IMAGES=(debian-12-standard)
TEMPLATE=template-proxmox.yaml
OS_TEMPLATE=debian-12-standard
TOKEN=berth@pve!operator
# Where ssh finds the nodes by their names.
SSH_CONFIG=$CLUSTER/ssh_config

backend_start() {
	need jq jq ssh openssh-client
	say "building the simulated cluster"
	cargo build --quiet --locked --package berth-proxmox-simulator --bin proxmox-simulator 6>&-
	if ! proc_pid "$SIMULATOR" >/dev/null; then start_cluster; fi
	wait_for "the simulated cluster is ready" grep -q '^ready: ' "$CLUSTER/ready"
	API=$(sed -n 's/^ready: API \([^ ]*\) .*/\1/p' "$CLUSTER/ready")
	write_ssh_config
	# A shell on a node needs user namespaces, where one is not root.
	NODE_SHELL=yes
	if ! on_node pve1 true 2>/dev/null; then
		NODE_SHELL=no
		say "the nodes have no shell, since $(id -un) may not make namespaces: workspaces get no /dev/net/tun"
	fi
}

start_cluster() {
	[[ ! -s $CLUSTER/ready ]] ||
		fail "the simulated cluster has ended, and all that it knew with it: run make demo-down, and begin anew"
	mkdir -p "$CLUSTER"
	make_credentials
	put "${CARGO_TARGET_DIR:-$ROOT/target}/debug/proxmox-simulator" "$CLUSTER/proxmox-simulator"
	say "starting a simulated Proxmox VE cluster; its log is $CLUSTER/simulator.log"
	local endpoint
	endpoint=$(docker_endpoint)
	NO_COLOR=1 DOCKER_HOST=$endpoint setsid "$CLUSTER/proxmox-simulator" serve \
		--config "$CLUSTER/cluster.yaml" --certificate "$CLUSTER/ca.pem" \
		--listen 127.0.0.1:0 --control 127.0.0.1:0 --time-scale 0.1 --patience-scale 1 \
		--containers docker --cluster "$INSTANCE" \
		--template "$OS_TEMPLATE=berth-demo/$OS_TEMPLATE:bookworm" \
		--ssh pve1=127.0.0.1:0 --ssh pve2=127.0.0.1:0 --ssh-host-key "$CLUSTER/node-host-key" \
		--ssh-authorized-keys "$CLUSTER/node-key.pub" --ssh-known-hosts "$CLUSTER/known_hosts" \
		</dev/null >"$CLUSTER/ready" 2>>"$CLUSTER/simulator.log" 6>&- &
	proc_record "$SIMULATOR" "$!" || fail "the simulated cluster ended at once"
}

# What an administrator of Proxmox VE makes: a token, and keys for the containers and the nodes.
make_credentials() {
	local key secret
	for key in ssh-key node-key; do
		[[ -s $CLUSTER/$key ]] || ssh-keygen -q -t ed25519 -N '' -C "$INSTANCE" -f "$CLUSTER/$key"
	done
	[[ -s $CLUSTER/token ]] || (umask 077 && cat /proc/sys/kernel/random/uuid >"$CLUSTER/token")
	secret=$(cat "$CLUSTER/token")
	(
		umask 077
		printf 'Authorization: PVEAPIToken=%s=%s\n' "$TOKEN" "$secret" >"$CLUSTER/authorization"
		sed "s/TOKEN_SECRET/$secret/" hack/demo/cluster.yaml >"$CLUSTER/cluster.yaml"
	)
}

# NODE ADDRESS:PORT of each node.
nodes() { grep -o 'SSH [^ ]* [^ ]*' "$CLUSTER/ready" | cut -d ' ' -f 2-; }

write_ssh_config() {
	local node address
	{
		while read -r node address; do
			printf 'Host %s\n\tHostName %s\n\tPort %s\n' "$node" "${address%:*}" "${address##*:}"
		done < <(nodes)
		printf 'Host *\n\tUser root\n\tIdentitiesOnly yes\n'
		printf '\tIdentityFile "%s"\n\tUserKnownHostsFile "%s"\n' "$CLUSTER/node-key" "$CLUSTER/known_hosts"
	} >"$SSH_CONFIG"
}

on_node() { ssh -F "$SSH_CONFIG" -o BatchMode=yes "$@" </dev/null; } # NODE COMMAND

backend_config() {
	cat <<-YAML
		  - name: proxmox
		    proxmox:
		      endpoints: ["$API"]
		      token: {id: "$TOKEN", secretFile: $CLUSTER/token}
		      tls: {caFile: $CLUSTER/ca.pem}
		      storage: shared
		      disk: 8Gi
		      ssh: {keyFile: $CLUSTER/ssh-key}
		      # Names are looked up as on the nodes.
		      dns: {mode: Host}
		      caBundleFile: $STATE/ca.crt
	YAML
	[[ $NODE_SHELL == yes ]] || return 0
	cat <<-YAML
		      hostSsh:
		        keyFile: $CLUSTER/node-key
		        knownHostsFile: $CLUSTER/known_hosts
		        addresses: {$(nodes | sed 's/\([^ ]*\) \(.*\)/\1: "\2"/' | paste -sd,)}
	YAML
}

backend_adapt() {
	if [[ $NODE_SHELL == yes ]]; then cat; else sed 's/tun: true/tun: false/'; fi
}

# The containers in the cluster's own API, asked with the operator's token, and the configuration of
# one on its node.
backend_view() {
	local vmid name node status tags format='%-6s %-10s %-6s %-9s %s\n'
	local ask=(curl --silent --fail --cacert "$CLUSTER/ca.pem" --header "@$CLUSTER/authorization"
		"$API/api2/json/cluster/resources?type=vm")
	typed "${ask[@]}"
	# shellcheck disable=SC2059 # a format of our own
	printf "$format" VMID NAME NODE STATUS TAGS
	"${ask[@]}" | jq --raw-output '.data | sort_by(.vmid)[] |
		[.vmid, .name, .node, if .template == 1 then "template" else .status end, .tags] | @tsv' |
		while IFS=$'\t' read -r vmid name node status tags; do
			# shellcheck disable=SC2059
			printf "$format" "$vmid" "$name" "$node" "$status" "$tags"
		done
	[[ $NODE_SHELL == yes ]] || return 0
	read -r node vmid < <(kubectl get workspace --namespace demo hello \
		--output 'jsonpath={.status.resolved.host} {.status.resolved.vmid}{"\n"}')
	show ssh -F "$SSH_CONFIG" "$node" pct config "$vmid" </dev/null
}

backend_farewell() {
	cat <<-TEXT

		The cluster's API is $API, its nodes are reached by
		  ssh -F $SSH_CONFIG pve1 pct status 1000
	TEXT
}
