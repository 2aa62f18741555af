//! Berth runs development workspaces on Docker and Proxmox VE hosts, declared as Kubernetes
//! custom resources.

pub mod api;
pub mod backend;
pub mod config;
pub mod provision;
