//! Containers as the API sees them: configuration, life and the tasks that change them.

pub mod clone;
pub mod config;
pub mod create;
pub mod destroy;
pub mod network;
pub mod power;
pub mod resize;
pub mod rules;
pub mod snapshot;
pub mod status;
pub mod template;
pub mod update;
pub mod volumes;

/// How long one waits for a container's configuration, in seconds.
pub const CONFIG_PATIENCE: f64 = 10.0;
