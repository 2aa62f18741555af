//! Workspaces on Proxmox VE: the simulated cluster with real containers, and the operator as a process.

mod host_key;
mod life;
mod template;
mod vmid;
