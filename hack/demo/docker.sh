# shellcheck shell=bash disable=SC2034 # variables are for the other files
# The demo on Docker: workspaces are containers of this machine's daemon. Both backends of the demo
# have the variables and functions of this file.

# The images that it needs, and the Template of its workspaces.
BACKEND_IMAGES=(workspace node)
TEMPLATE=template.yaml

# Of 10.212.0.0 to 10.219.255.255 a part of this checkout's own.
network_range() {
	local number=$((16#${HASH:0:4}))
	printf '10.%s.%s.0/20\n' "$((212 + number % 8))" "$((number / 8 % 16 * 16))"
}

# What is beside Docker itself: nothing.
backend_start() { :; }

# Its part of the operator's configuration.
backend_config() {
	local endpoint
	endpoint=$(docker_endpoint)
	cat <<-YAML
		  - name: docker
		    docker:
		      hosts:
		        - name: local
		          endpoint: $endpoint
		      networkRange: $(network_range)
		      caBundleFile: $STATE/ca.crt
	YAML
}

# What is applied, as this machine can have it.
backend_adapt() { cat; }

# The workspaces as the backend sees them.
backend_view() {
	show docker ps --all --filter "label=berth.dev/instance=$INSTANCE" \
		--format 'table {{.Names}}\t{{.Image}}\t{{.Status}}'
}

# What more there is to look at.
backend_farewell() { :; }
