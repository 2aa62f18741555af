//! Workspaces from the outside: what a user applies, sees, and finds on the Docker host.

mod crash;
pub mod creations;
mod daemon;
mod errors;
mod leader;
mod repository;
mod rights;
mod strangers;
