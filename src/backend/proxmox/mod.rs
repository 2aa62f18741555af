//! Proxmox VE hosts.
//!
//! [`client`] speaks the API of a cluster and decides nothing. Nothing of Kubernetes lives here.

mod allocate;
pub mod client;
mod errors;
mod mark;
mod settings;
