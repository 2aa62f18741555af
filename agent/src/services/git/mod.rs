//! Git: looking at the workspace's repository, and making commits of it.
//!
//! Everything is the image's own `git`, run as the workspace's user. Going to other repositories
//! over the network (cloning, pushing) has no place here.

mod command;
mod routes;
mod status;
#[cfg(test)]
mod tests;

pub use routes::router;
