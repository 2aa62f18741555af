//! The controllers: one folder a kind, and beside them what they share.
//!
//! Everything here runs in the leader alone, within [`run`]: when the lease is lost that future
//! is dropped, and with it all work under way.

pub mod agents;
pub mod backoff;
pub mod commands;
pub mod context;
pub mod devserver;
pub mod dispatch;
pub mod events;
pub mod leader;
pub mod lease;
pub mod ledger;
pub mod links;
pub mod queue;
pub mod sweep;
pub mod tasks;
pub mod template;
pub mod trigger;
pub mod workspace;
