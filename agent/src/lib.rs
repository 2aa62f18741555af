//! What runs inside a workspace.
//!
//! Three processes of one binary, started in this order:
//!
//! - [`init`] (process 1 of the container, root) starts the other two as the workspace's user,
//!   starts them again when they end, and reaps what is left behind;
//! - [`supervisor`] owns the supervised processes and the terminals, with their output. It hardly
//!   ever changes, and goes on through updates;
//! - [`link`] holds the connection to the gateway. It does the rest itself ([`services`]) and
//!   passes on to the supervisor, over a Unix socket, what is the supervisor's.
//!
//! [`config`] is what the operator tells an agent; [`users`] reads the container's users.

pub mod activity;
pub mod config;
pub mod init;
pub mod link;
pub mod services;
pub mod supervisor;
pub mod users;
