# shellcheck shell=bash
# Removing what a demo made, on whichever backend it was, and however far it came.

# By the operator, while there is one and what it needs; what it could not remove is removed below.
remove_workspaces() {
	proc_pid "$OPERATOR" >/dev/null || return 0
	[[ $(recorded_backend) != proxmox ]] || proc_pid "$SIMULATOR" >/dev/null || return 0
	kubectl get namespace demo --request-timeout 3s >/dev/null 2>&1 || return 0
	say "deleting the workspaces"
	kubectl delete workspaces --all --all-namespaces --timeout 60s >/dev/null ||
		say "the operator did not remove them all within 60 s"
	kubectl delete templates --all --all-namespaces --timeout 60s >/dev/null ||
		say "the operator did not remove all Templates within 60 s"
}

# What is a simulated cluster's, and nobody's who asked for it.
remove_cluster() {
	local program=$STATE/proxmox/proxmox-simulator
	stop_process "$SIMULATOR"
	[[ ! -x $program ]] || ! docker_answers ||
		DOCKER_HOST=$(docker_endpoint) "$program" cleanup --cluster "$INSTANCE" ||
		say "the simulated cluster was not removed whole"
}

leftovers() {
	local label
	for label in "berth.dev/instance=$INSTANCE" "berth.dev/demo=$INSTANCE" \
		"dev.berth.proxmox-simulator.cluster=$INSTANCE"; do
		docker ps --all --filter "label=$label" --format 'container {{.Names}}'
		docker network ls --filter "label=$label" --format 'network {{.Name}}'
		docker volume ls --filter "label=$label" --format 'volume {{.Name}}'
		docker image ls --filter "label=$label" --format 'image {{.ID}}'
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
		image) docker image rm --force "$name" ;;
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
