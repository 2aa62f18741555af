//! Tests against real Docker daemons.

mod chart;
mod docker_backend;
