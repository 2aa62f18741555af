//! The public address: agents, previews, the terminal page and the API for programs, told apart
//! by host and path.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{any, get},
};
use berth_link::wire::CONNECT_PATH;
use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::gateway::TlsFiles, link::accept::Acceptor};

/// Longest time for the headers of a request.
const HEADER_TIME: std::time::Duration = std::time::Duration::from_secs(15);

/// The routes that every host name has.
pub fn routes(acceptor: Arc<Acceptor>) -> Router {
    Router::new()
        .route(CONNECT_PATH, any(connect))
        .route("/healthz", get(async || "ok\n"))
        .with_state(acceptor)
}

async fn connect(State(acceptor): State<Arc<Acceptor>>, request: Request<Body>) -> Response {
    acceptor.accept(request)
}

/// Reads certificate and key of the public address.
pub fn tls(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("gateway.tls.certFile {}", files.cert_file.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .with_context(|| format!("gateway.tls.keyFile {}", files.key_file.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves connections until it is told to stop.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                connections.spawn(async move {
                    let served = async {
                        match tls {
                            Some(tls) => {
                                let stream = tokio::time::timeout(HEADER_TIME, tls.accept(stream)).await??;
                                serve_one(stream, peer, router).await
                            }
                            None => serve_one(stream, peer, router).await,
                        }
                    };
                    tokio::select! {
                        ended = served => if let Err(error) = ended {
                            tracing::debug!(%peer, "connection ended: {error:#}");
                        },
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_one<S>(stream: S, peer: SocketAddr, router: Router) -> anyhow::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let router = router.layer(axum::Extension(Peer(peer)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
