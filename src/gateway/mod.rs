//! The way into workspaces: the aggregated API behind kube-apiserver, and the public address with
//! agents' links, previews and the terminal page.
//!
//! A gateway holds no credentials of a backend, writes no custom resource and reads no Secret of
//! a user's. What it knows of workspaces it has from watches; what it does in one it asks of the
//! agent there, through [`access::Agents`].

pub mod access;
pub mod previews;
