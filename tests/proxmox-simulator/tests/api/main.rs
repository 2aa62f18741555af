//! Conversations with the simulated API, word for word.

#![allow(missing_docs, reason = "tests")]

mod client;
mod life;
mod rules;
