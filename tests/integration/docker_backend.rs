//! The Docker backend against the daemon of this machine.
//!
//! Each test is an operator instance of its own, and removes what it made. Needed are the daemon
//! at `/var/run/docker.sock`, the image of [`world::image`], and OpenSSH's `sshd`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endpoints;
mod guest;
mod health;
mod images;
mod jobs;
mod lifecycle;
mod logs;
mod many;
mod ownership;
pub mod proxy;
mod registry;
mod world;
