//! What runs inside a workspace.
//!
//! Three processes of one binary, started in this order:
//!
//! - [`init`] (root; process 1 of the container, or a service) starts the other two as the workspace's user,
//!   starts them again when they end, and reaps what is left behind;
//! - [`supervisor`] owns the supervised processes and the terminals, with their output. It hardly
//!   ever changes, and goes on through updates;
//! - [`link`] holds the connection to the gateway. It does the rest itself ([`services`]) and
//!   passes on to the supervisor, over a Unix socket, what is the supervisor's.
//!
//! [`config`] is what the operator tells an agent; [`users`] reads the container's users;
//! [`update`] and [`last_words`] tell of a newer program that did not come up.

pub mod activity;
pub mod config;
pub mod init;
pub mod last_words;
pub mod link;
pub mod services;
pub mod supervisor;
pub mod update;
pub mod users;
