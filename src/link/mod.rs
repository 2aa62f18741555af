//! The agents' links, seen from the gateway: who may have one, and what goes over them.
//!
//! What the two ends say is in the crate [`berth_link`]; the other end is the crate
//! `berth-agent`. Nothing here knows previews or the API: those ask through
//! [`crate::gateway::access::Agents`].

pub mod accept;
pub mod hub;
pub mod keys;
pub mod metrics;
mod news;
pub mod push;
pub mod token;
mod work;
