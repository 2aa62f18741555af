//! The API of a Proxmox VE cluster, as far as containers need it.
//!
//! What lives here: the words of the API as types, and one method for each call. What may not:
//! decisions about workspaces, waiting for long tasks, and anything that has no counterpart in the
//! API.
//!
//! A POST is never sent twice: when its answer is lost, only looking tells whether it happened.

pub mod cause;
pub mod connection;
pub mod failure;
pub mod names;
pub mod retry;
mod tls;
mod wire;

pub use cause::{Cause, Lock, Missing};
pub use connection::{ApiToken, Connection, Fingerprint, InvalidConnection, Limits, Trust};
pub use failure::{Error, Failure, Needs, Reached};
pub use names::{
    Hostname, InterfaceName, InvalidName, NodeName, PoolName, SnapshotName, StorageName, VmId, VolumeId,
};
pub use retry::{Again, CallKind, Effect, Verdict};
