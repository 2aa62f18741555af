//! Everything that needs more than this process: a real control plane, real Docker, real git
//! servers. One binary, so that only one is linked.
//!
//! `hack/tools.sh`, `hack/docker.sh up` and `hack/images.sh` make what the tests need; `make test`
//! calls them.

mod chart;
mod docker_backend;
mod support;
mod workspace;
