//! Agents in real containers, linked to a real gateway.

mod api;
mod devserver;
mod link;
