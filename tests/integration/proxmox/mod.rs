//! Workspaces on Proxmox VE: the simulated cluster with real containers, and the operator as a process.

mod life;
mod template;
