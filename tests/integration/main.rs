//! Everything that needs more than this process: a real control plane, real Docker, real git
//! servers. One binary, so that only one is linked.
//!
//! `hack/tools.sh`, `hack/docker.sh up`, `hack/images.sh` and `hack/agent.sh` make what the tests need;
//! `make test` calls them.

// A test that fails is a test that panics, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod api;
mod chaos;
mod chart;
mod devserver;
mod docker_backend;
mod gateway;
mod lifecycle;
mod plugin;
mod previews;
mod proxmox;
mod ssh;
mod start_up;
mod support;
mod template;
mod terminal;
mod workspace;
