//! The API of a Proxmox VE cluster, as far as containers need it.
//!
//! What lives here: the words of the API as types, and one method for each call. What may not:
//! decisions about workspaces, waiting for long tasks, and anything that has no counterpart in the
//! API.
//!
//! A POST is never sent twice: when its answer is lost, only looking tells whether it happened.

mod call;
pub mod cause;
pub mod connection;
mod endpoints;
pub mod failure;
mod gates;
pub mod names;
pub mod retry;
#[cfg(test)]
mod scripted;
mod tls;
mod transport;
#[cfg(test)]
mod transport_tests;
mod wire;

pub use cause::{Cause, Lock, Missing};
pub use connection::{ApiToken, Connection, Fingerprint, InvalidConnection, Limits, Trust};
pub use failure::{Error, Failure, Needs, Reached};
pub use names::{
    Hostname, InterfaceName, InvalidName, NodeName, PoolName, SnapshotName, StorageName, VmId, VolumeId,
};
pub use retry::{Again, CallKind, Effect, Verdict};

use transport::Transport;

/// A client of one cluster. Connects when it is first used.
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client with these settings. Reads the system's certificate authorities if they are
    /// trusted; asks no node.
    pub fn new(connection: &Connection) -> Result<Self, InvalidConnection> {
        Ok(Self { transport: Transport::new(connection)? })
    }
}
