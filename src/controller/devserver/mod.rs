//! The DevServer controller. One pass goes one way:
//!
//! `gather` (the object, its Workspace, its siblings, what its agent told) -> `validate` (the
//! object as domain types) -> `plan` (pure: what the agent is to be told, whether a host name is to
//! be made) -> `status` (pure: what to say) -> `write` (one server-side apply, when something
//! changed).
//!
//! Nothing here reaches an agent: what is wanted of it is left with
//! [`super::agents::Agents`], the whole set of a Workspace at once. A set is only given when every
//! DevServer of the Workspace has been looked at, since what is missing in it is ended.

#[cfg(test)]
mod fixtures;
pub mod pass;
pub mod phase;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod preview;
pub mod references;
pub mod registry;
pub mod routes;
pub mod siblings;
pub mod situation;
pub mod status;
#[cfg(test)]
mod status_tests;
pub mod validate;
pub mod verdict;
pub mod words;
pub mod write;

pub use pass::{forget, reconcile, tell_agent};
pub use phase::Phase;
pub use registry::Registry;
pub use validate::home_of;
