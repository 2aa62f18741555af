//! The public address: agents, previews, the terminal page and the API for programs, told apart
//! by host and path.

use std::sync::Arc;

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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{config::gateway::TlsFiles, link::accept::Acceptor};

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
pub fn tls(files: &TlsFiles) -> anyhow::Result<Arc<rustls::ServerConfig>> {
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
    Ok(Arc::new(config))
}
