//! What the parts of an installation say to each other, over one listener with mutual TLS.
//!
//! Every gateway keeps one stream to the leader: up go the links it holds and what agents tell,
//! down come what is wanted of the agents and which replica holds which link. A request for an
//! agent whose link another replica holds goes to that replica. Nothing here is ever public: who
//! connects must have a certificate of the installation's own authority ([`certificates`]).

pub mod api_service;
pub mod ask;
pub mod certificates;
pub mod commands;
pub mod follow;
pub mod identity;
pub mod leader;
pub mod log;
pub mod messages;
pub mod peers;
pub mod root;
pub mod serve;
pub mod tls;
