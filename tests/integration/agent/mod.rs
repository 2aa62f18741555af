//! Agents in real containers, linked to a real gateway.

mod devserver;
mod link;
