//! The API of a Proxmox VE cluster, as far as containers need it.
//!
//! What lives here: the words of the API as types, and one method for each call. What may not:
//! decisions about workspaces, waiting for long tasks, and anything that has no counterpart in the
//! API.
//!
//! A POST is never sent twice: when its answer is lost, only looking tells whether it happened.

mod call;
pub mod cause;
pub mod change;
pub mod cluster;
pub mod configuration;
pub mod connection;
pub mod container;
pub mod create;
mod endpoints;
pub mod failure;
mod gates;
pub mod guest;
pub mod names;
pub mod network;
#[cfg(test)]
mod network_tests;
mod pairs;
pub mod retry;
#[cfg(test)]
mod scripted;
pub mod snapshot;
pub mod storage;
pub mod tags;
pub mod task;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
#[cfg(test)]
mod transport_tests;
pub mod upid;
mod wire;

pub use cause::{Cause, Lock, Missing};
pub use change::{Change, Setting};
pub use cluster::{NodeStatus, Permissions, Pool, Version};
pub use configuration::{Configuration, Device, Digest, Features, Volume};
pub use connection::{ApiToken, Connection, Fingerprint, InvalidConnection, Limits, Trust};
pub use container::{Disk, Feature, PendingKey, Resize, View};
pub use create::{CloneDisk, CloneRequest, CreateRequest, DeleteRequest};
pub use failure::{Error, Failure, Needs, Reached};
pub use guest::{ClusterGuest, ContainerStatus, GuestInterface, GuestKind, RunState};
pub use names::{
    Hostname, InterfaceName, InvalidName, NodeName, PoolName, SnapshotName, StorageName, VmId, VolumeId,
};
pub use network::{Address, HardwareAddress, InvalidInterface, NetworkInterface, VlanTag};
pub use retry::{Again, CallKind, Effect, Verdict};
pub use snapshot::Snapshot;
pub use storage::{Appliance, Content, Storage, StoredVolume};
pub use tags::{Tag, Tags};
pub use task::{TaskLog, TaskState};
pub use upid::Upid;

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
