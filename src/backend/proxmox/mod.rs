//! Proxmox VE hosts.
//!
//! [`client`] speaks the API of a cluster and decides nothing. Nothing of Kubernetes lives here.

mod allocate;
pub mod client;
mod errors;
mod mark;
pub mod node_shell;
mod settings;
pub mod tun_lines;
