//! Serving the aggregated face: TLS, the front proxy's certificate, and who asks.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{ServerConfig, server::ResolvesServerCert, sign::CertifiedKey};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::front_proxy::{FrontProxy, Settings};

/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest time for the headers of a request.
const HEADERS: Duration = Duration::from_secs(15);
/// Connections at a time. kube-apiserver needs few: its requests share them.
const CONNECTIONS: usize = 1_024;
/// Time that requests have to end in when serving stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Wait after a connection could not be taken, such as when there are no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// The certificate and key of the server, which are replaced now and then. Without one no
/// connection is taken.
pub type ServingCertificate = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// Serves until `stop` is cancelled. A client without a certificate of the front proxy gets no
/// connection; neither does any while the settings of the front proxy are missing.
///
/// Each request carries the [`super::identity::Identity`] that the front proxy names as an
/// extension, and none of the headers that name it.
pub async fn serve_aggregated(
    listener: TcpListener,
    certificate: ServingCertificate,
    front_proxy: watch::Receiver<Settings>,
    router: Router,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let place = free.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let stream = match accepted {
            (Ok(place), Ok((stream, _))) => (place, stream),
            (_, Err(error)) => {
                tracing::warn!(%error, "a connection to the aggregated API can not be taken");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
            (Err(_), _) => break,
        };
        let connection = Connection {
            certificate: certificate.clone(),
            front_proxy: front_proxy.clone(),
            router: router.clone(),
            stop: stop.clone(),
        };
        connections.spawn(async move {
            let (_place, stream) = stream;
            if let Err(error) = connection.serve(stream).await {
                tracing::debug!(%error, "a connection to the aggregated API ended");
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::info!("requests to the aggregated API were cut off");
    }
}

struct Connection {
    certificate: ServingCertificate,
    front_proxy: watch::Receiver<Settings>,
    router: Router,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let front_proxy = self.front_proxy.borrow_and_update().clone()?;
        let acceptor = TlsAcceptor::from(Arc::new(tls(self.certificate.clone(), &front_proxy)?));
        let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if !certificate.is_some_and(|certificate| front_proxy.allows(certificate)) {
            anyhow::bail!("the client's certificate carries none of the allowed names");
        }
        let service = identified(self.router, front_proxy);
        let builder = builder();
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            ended = served.as_mut() => return ended.map_err(anyhow::Error::from_boxed),
            // New settings hold for new connections; this one takes no more requests.
            _ = self.front_proxy.changed() => {}
            () = self.stop.cancelled() => {}
        }
        served.as_mut().graceful_shutdown();
        served.await.map_err(anyhow::Error::from_boxed)
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(64 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// The router, with the identity in place of the headers that tell it.
fn identified(
    router: Router,
    front_proxy: Arc<FrontProxy>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let identity = front_proxy.identity(request.headers());
        front_proxy.strip(request.headers_mut());
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        router.clone().oneshot(request)
    })
}

fn tls(certificate: ServingCertificate, front_proxy: &FrontProxy) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(front_proxy.verifier()?)
        .with_cert_resolver(Arc::new(Newest(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again would not show its certificate to new settings.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The newest certificate at each handshake.
#[derive(Debug)]
struct Newest(ServingCertificate);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}
