//! Connections: TLS, HTTP/1.1, and how long an idle one lives.

use std::{io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;

/// A kept-alive connection is closed after this long without a request.
const IDLE: Duration = Duration::from_secs(5);

/// What the server shows to clients.
pub struct Certificate {
    /// As a file holds it.
    pub pem: String,
    /// SHA-256, in upper-case bytes parted by colons.
    pub fingerprint: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Makes one that signs itself.
    ///
    /// # Errors
    ///
    /// That the key or the names are of no use.
    pub fn make(names: Vec<String>) -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let fingerprint: Vec<_> =
            Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02X}")).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { pem: cert.pem(), fingerprint: fingerprint.join(":"), config: Arc::new(config) })
    }
}

/// Serves until it is dropped.
///
/// # Errors
///
/// Why no connection can be accepted any more.
pub async fn serve(
    listener: TcpListener,
    certificate: &Certificate,
    cluster: Arc<Cluster>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::clone(&certificate.config));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = connections.join_next() => continue,
        };
        let (acceptor, cluster) = (acceptor.clone(), Arc::clone(&cluster));
        connections.spawn(async move {
            let Ok(Ok(stream)) = tokio::time::timeout(IDLE, acceptor.accept(stream)).await else { return };
            let service = service_fn(|request| {
                let cluster = Arc::clone(&cluster);
                async move { Ok::<_, std::convert::Infallible>(super::handle(cluster, request).await) }
            });
            // The client's end of a connection is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
