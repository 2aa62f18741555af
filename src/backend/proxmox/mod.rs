//! Proxmox VE hosts.
//!
//! [`client`] speaks the API of a cluster and decides nothing. Nothing of Kubernetes lives here.

pub mod client;
