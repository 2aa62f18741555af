//! Tests against real Docker daemons.

mod docker_backend;
