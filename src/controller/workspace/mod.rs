//! The Workspace controller. One pass goes one way:
//!
//! `gather` (what is there) -> `validate` (the object as domain types) -> `plan` (pure: the next
//! action) -> `execute` (one action on backend or guest) -> `status` (pure: what to say) ->
//! `write` (one server-side apply, when something changed).
//!
//! A pass repeats this until nothing more can be done at once. Every action is planned anew from
//! what is there, so a pass may be cut off anywhere.

pub mod activity;
pub mod agent;
mod container_conditions;
mod creation;
pub mod execute;
#[cfg(test)]
mod fixtures;
pub mod infrastructure;
pub mod pass;
pub mod phase;
pub mod placement;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod power;
pub mod problem;
pub mod record;
pub mod references;
pub mod removal;
pub mod status;
#[cfg(test)]
mod status_tests;
pub mod template_choice;
pub mod validate;
pub mod write;

pub use pass::{PassError, reconcile};
pub use phase::{Phase, Step};
pub use template_choice::{Templates, default_of};

/// `status.operation.kind` of a clone.
pub const OPERATION_CLONE: &str = "Clone";
/// What the names of clone jobs begin with.
pub const JOB_CLONE: &str = "clone";
