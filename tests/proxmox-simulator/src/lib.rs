//! A Proxmox VE cluster to test against: its API, with real containers behind it.
//!
//! | room | what lives there |
//! |---|---|
//! | [`containers`] | what a container is to the API, and Docker behind it |
//! | [`node_ssh`] | root's shell on a node: `pct` and the configuration files |
//!
//! The README says what is real here and what is only recorded.

pub mod containers;
pub mod node_ssh;
