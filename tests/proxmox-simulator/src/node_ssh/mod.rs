//! Each node's SSH server: a shell of root's on a Proxmox VE host.
//!
//! A command runs in a shell of this machine that sees the containers' files below `/etc/pve`, the
//! name of the node, and a `pct`. That `pct` is the simulator's own program under another name; it
//! asks the simulator over a socket. What a command may do stands in [`host`]; the other files carry
//! it there.

mod command;
mod files;
mod host;
mod keys;
pub mod pct;
mod protocol;
mod requests;
mod server;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use russh::keys::{PrivateKey, PublicKey};

pub use self::{
    keys::{authorized_keys, host_key},
    server::serve,
};
use crate::containers::Containers;

/// What the nodes of a cluster know of their containers' configuration.
#[async_trait]
pub trait Configurations: Send + Sync {
    /// The numbers of a node's containers.
    async fn vmids(&self, node: &str) -> Vec<u32>;
    /// The text of a container's configuration file; `None` if the node has no such container.
    async fn config_text(&self, node: &str, vmid: u32) -> Option<String>;
    /// Puts another text in its place.
    ///
    /// # Errors
    ///
    /// Why the text is no configuration, or that the node has no such container.
    async fn set_config_text(&self, node: &str, vmid: u32, text: &str) -> Result<(), String>;
    /// Takes the lock away.
    ///
    /// # Errors
    ///
    /// That there is no such container.
    async fn unlock(&self, vmid: u32) -> Result<(), String>;
}

/// A node that is reached by SSH.
#[derive(Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it shows to clients.
    pub host_key: PrivateKey,
    /// Whose owners are root.
    pub authorized_keys: Vec<PublicKey>,
    /// The simulator's program, which is `pct` there.
    pub program: PathBuf,
    /// The containers' configuration.
    pub configurations: Arc<dyn Configurations>,
    /// The containers.
    pub containers: Arc<dyn Containers>,
}
