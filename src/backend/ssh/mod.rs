//! SSH: the inside of containers that are reached that way, and the hosts that they are on.
//!
//! Whoever is at the other end is not trusted: what it says is bounded in size and time, its host
//! key is compared with the one that is expected, and it can open no channels to us. Nothing here
//! knows which backend a container is of.

pub mod agent;
pub mod error;
pub mod guest;
pub mod host;
pub mod host_key;
pub mod known_hosts;
pub mod pool;
pub mod private_key;

mod command_line;
mod connection;
pub(super) mod session;

pub use error::SshError;
pub use guest::SshGuest;
pub use host::{HostShell, SshHost};
pub use host_key::HostKey;
pub use known_hosts::KnownHosts;
pub use pool::{Pool, Settings};
pub use private_key::{PrivateKeySource, PrivateKeys};
pub use session::{Target, Trust};
