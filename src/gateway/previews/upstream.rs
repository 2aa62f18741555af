//! Connections to dev servers, kept while they may be used again.

use std::{
    error::Error as StdError,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Uri, uri::Authority};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client, Error,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use super::{bodies::Upload, refusal::Refusal, settings::PreviewSettings};
use crate::{
    backend::BodyId,
    gateway::access::{AgentError, Agents, Tunnel},
};

/// Connections to dev servers. Idle ones are bounded in number and time.
pub struct Upstream {
    client: Client<Connector, Upload>,
}

impl Upstream {
    /// None yet.
    pub fn new(agents: Arc<dyn Agents>, settings: &PreviewSettings) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.max_idle_connections)
            .http1_max_buf_size(settings.max_header_bytes.max(8 << 10))
            .build(Connector { agents });
        Self { client }
    }

    /// Sends a request to the dev server that its address names; see [`address`].
    pub async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}

/// How a dev server is called among the connections: never by what a client says.
pub fn address(id: BodyId, port: u16) -> Option<Authority> {
    format!("{id}:{port}").parse().ok()
}

/// Whether a connection that had been idle was closed by the dev server just when it was used.
pub fn hung_up(error: &Error) -> bool {
    !error.is_connect()
        && causes(error).any(|cause| {
            let unfinished =
                cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
            let reset = cause.downcast_ref::<io::Error>().is_some_and(|error| {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            });
            unfinished || reset
        })
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let agent = causes(error).find_map(|cause| cause.downcast_ref::<AgentError>());
        agent.map_or(Self::BadAnswer, Self::from)
    }
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Opens connections through the agents.
#[derive(Clone)]
struct Connector {
    agents: Arc<dyn Agents>,
}

impl tower::Service<Uri> for Connector {
    type Response = Through;
    type Error = AgentError;
    type Future = Pin<Box<dyn Future<Output = Result<Through, AgentError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AgentError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let agents = Arc::clone(&self.agents);
        Box::pin(async move {
            let (id, port) = parse(&address).ok_or(AgentError::NotConnected)?;
            Ok(Through(TokioIo::new(agents.connect(id, port).await?)))
        })
    }
}

fn parse(address: &Uri) -> Option<(BodyId, u16)> {
    let bytes = hex::decode(address.host()?).ok()?;
    Some((BodyId::from_bytes(bytes.try_into().ok()?), address.port_u16()?))
}

/// A tunnel as the client wants it.
struct Through(TokioIo<Tunnel>);

impl Connection for Through {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Through {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Through {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_workspace_and_a_port() {
        let id = BodyId::from_bytes([0, 1, 2, 3, 4, 5, 6, 255]);
        let address = address(id, 5173).unwrap();
        let uri = Uri::builder().scheme("http").authority(address).path_and_query("/").build().unwrap();
        assert_eq!(parse(&uri), Some((id, 5173)));
        assert_eq!(parse(&Uri::from_static("http://a.localhost:5173/")), None);
    }
}
