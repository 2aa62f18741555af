//! What the tests stand on: a real control plane, the real operator as a process, real Docker.

// The benchmarks share this, and each of its users needs another part.
#![allow(dead_code, unused_imports)]

pub mod control_plane;
pub mod docker;
pub mod git_server;
pub mod objects;
pub mod operator;
pub mod proxmox;
pub mod wait;

pub use control_plane::{ControlPlane, Namespace, control_plane};
pub use docker::Docker;
pub use git_server::{GitServer, git_server};
pub use operator::{Operator, Settings};
pub use wait::{eventually, eventually_every};

use std::path::PathBuf;

/// The folder of the checkout.
pub fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A short random word for names that must not collide.
pub fn word() -> String {
    hex::encode(rand::random::<[u8; 4]>())
}
