# Every target does alone what it needs: it installs what is missing, uses what is there, and says
# what it does. `make demo` and `make test` are the two to start with.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Where caches live that checkouts share.
export BERTH_CACHE ?= $(HOME)/.cache/berth
# rustup's place, for shells that were started before it was installed.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(CURDIR)/.local/bin:$(PATH)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo demo-down
demo: rust ## start everything and watch a workspace become ready; DEMO_BACKEND=docker|proxmox
	@hack/demo.sh up

demo-down: ## remove everything that the demo made
	@hack/demo.sh down

.PHONY: test test-unit bench
test: rust tools docker images agent ## run all tests, with a real API server and real Docker
	@hack/test.sh

test-unit: rust ## run the tests that need nothing but this process
	cargo test --workspace --lib --bins

bench: rust tools docker images agent ## measure, and print what docs/benchmarks.md has
	@hack/bench.sh

.PHONY: lint
lint: rust ## check formatting, lints, generated files, scripts, chart and dependencies
	@hack/lint.sh

.PHONY: build image
build: rust ## build release binaries into target/release or $CARGO_TARGET_DIR/release
	cargo build --release --locked --bins
	install "$$(hack/agent.sh)" "$${CARGO_TARGET_DIR:-target}/release/berth-agent"

image: rust docker ## build the operator's image, berth:VERSION
	@hack/image.sh

.PHONY: crds
crds: rust ## write the files that are made from the code: crds/, the chart's copy, docs/reference/
	@hack/generate.sh

.PHONY: cluster cluster-down
cluster: ## start a local control plane; kubeconfig at .local/kubeconfig
	@hack/tools.sh
	@hack/cluster.sh up

cluster-down: ## stop it and remove its state
	@hack/cluster.sh down

.PHONY: rust tools docker images agent
rust:
	@hack/rust.sh

tools:
	@hack/tools.sh

docker:
	@hack/docker.sh up

images: docker
	@hack/images.sh

agent: rust
	@hack/agent.sh >/dev/null
