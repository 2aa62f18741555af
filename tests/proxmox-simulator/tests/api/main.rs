//! Conversations with the simulated API, word for word.

#![allow(missing_docs, reason = "tests")]

mod client;
mod faults;
mod life;
mod rules;
