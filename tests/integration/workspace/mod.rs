//! Workspaces from the outside: what a user applies, sees, and finds on the Docker host.

mod crash;
mod creations;
mod daemon;
mod errors;
mod leader;
mod life;
mod lost;
mod removal;
mod repository;
mod rights;
