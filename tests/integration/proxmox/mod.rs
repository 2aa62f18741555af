//! Workspaces on Proxmox VE: a simulated cluster, and the operator as a process. With real containers
//! where a Workspace is to become Ready; where something is to go wrong before that, on a cluster of
//! the test's own that only remembers its containers ([`scene`]).
//!
//! What holds on every kind of backend is tested in `lifecycle`.

mod adoption;
mod answers;
mod clones;
mod contention;
mod host_key;
mod killed;
mod life;
mod locks;
mod nodes;
mod orphans;
mod rights;
mod scene;
mod template;
mod vmid;
