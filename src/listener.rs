//! Serving HTTP on a listener: plain or with TLS whose certificate may change, HTTP/1.1 and
//! HTTP/2, upgrades included.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// Longest time for a TLS handshake, and for the headers of a request.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Pause after a connection could not be accepted: mostly there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take to end once the listener is to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 512;

/// The other end of a connection, as an extension of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// The certificates that it showed.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// A certificate that may be replaced while it is served.
pub type Tls = watch::Receiver<Arc<ServerConfig>>;

/// Serves connections until it is told to stop; requests under way get a moment to end.
pub async fn serve<S>(listener: TcpListener, tls: Option<Tls>, service: S, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (tls, service, stop) = (tls.clone(), service.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, address, tls, service, stop).await {
                        tracing::debug!(%address, "connection ended: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection<S>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Tls>,
    service: S,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let peer = Peer { address, secure: false, certificates: Arc::new([]) };
        return serve_stream(stream, peer, service, stop).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
    let stream = tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)).await??;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = shown.iter().map(|one| one.clone().into_owned()).collect();
    serve_stream(stream, Peer { address, secure: true, certificates }, service, stop).await
}

async fn serve_stream<I, S>(stream: I, peer: Peer, service: S, stop: CancellationToken) -> anyhow::Result<()>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        service.clone().call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended.map_err(|error| anyhow::anyhow!("{error}")),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(DRAIN, connection).await;
            Ok(())
        }
    }
}
