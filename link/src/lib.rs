//! What a gateway and an agent say to each other, and over what.
//!
//! The agent of a workspace dials out: one WebSocket to the gateway. Inside it they speak HTTP/2
//! with the roles turned round: the gateway is the client, the agent the server. Everything is an
//! ordinary request with flow control of its own; a connection to a port of the workspace is
//! `CONNECT`.
//!
//! - [`wire`]: the routes' requests and answers, as types. No behaviour.
//! - [`transport`]: the WebSocket as a stream of bytes, and the HTTP/2 settings of both ends.
//!
//! Nothing here knows Kubernetes, and nothing here does what is asked: the agent's crate does.

pub mod transport;
pub mod wire;
