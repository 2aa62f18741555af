//! Guests that are reached by SSH, against OpenSSH's server in containers.
//!
//! Each test has a container of its own, from the image of the git server: it has what is needed.

mod agent;
mod commands;
mod connections;
mod files;
mod host_keys;
mod hostile;
mod node;
mod provision;
mod server;
