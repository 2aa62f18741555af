//! Containers that really run, in the Docker of this machine. Their images are made here if they are
//! not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod copies;
mod life;
mod network;
mod node_ssh;
mod world;
