//! Reaching the agent of a workspace, whichever replica holds its link.

use std::{io, time::Duration};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::backend::BodyId;

/// The agents that can be reached, as handlers see them.
#[async_trait]
pub trait Agents: Send + Sync {
    /// Sends a request to the agent of a workspace. Only the path and query of its URI count:
    /// the routes of [`berth_link::wire`]. Both bodies stream.
    async fn request(&self, id: BodyId, request: Request<Body>) -> Result<Response<Body>, AgentError>;

    /// Opens a connection to a port on the workspace's loopback address.
    async fn connect(&self, id: BodyId, port: u16) -> Result<Tunnel, AgentError>;
}

/// Bytes to and from a port of a workspace.
pub type Tunnel = Box<dyn ByteStream>;

/// What a tunnel can do.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Why an agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No replica has a link to it.
    #[error("the workspace's agent is not connected")]
    NotConnected,
    /// The link broke while it was asked.
    #[error("the link to the workspace's agent broke: {0}")]
    Broken(String),
    /// It did not answer in time.
    #[error("the workspace's agent did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It has too many requests under way.
    #[error("too many requests to this workspace are under way")]
    Busy,
    /// Nothing listens on the port.
    #[error("nothing listens on port {0} of the workspace")]
    PortClosed(u16),
}

impl From<AgentError> for io::Error {
    fn from(error: AgentError) -> Self {
        let kind = match error {
            AgentError::PortClosed(_) => io::ErrorKind::ConnectionRefused,
            AgentError::TimedOut(_) => io::ErrorKind::TimedOut,
            AgentError::NotConnected | AgentError::Broken(_) | AgentError::Busy => {
                io::ErrorKind::NotConnected
            }
        };
        Self::new(kind, error)
    }
}
