//! Agents in real containers, linked to a real gateway.

mod activity;
pub mod api;
mod devserver;
mod failures;
mod link;
mod restart;
mod roles;
mod scene;
mod tokens;
mod update;
