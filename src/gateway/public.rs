//! The public address: agents, previews, the terminal page and the API for programs, told apart
//! by host and path.

use std::{convert::Infallible, sync::Arc};

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

use tower::{Service, ServiceExt};

use super::previews::Previews;
use crate::{config::gateway::TlsFiles, link::accept::Acceptor, listener::Peer};

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

/// The service of the public address: previews by their host names, and everything else.
pub fn service(
    previews: Option<Arc<Previews>>,
    routes: Router,
) -> impl Service<
    Request<Body>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> + Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |request: Request<Body>| {
        let (previews, routes) = (previews.clone(), routes.clone());
        async move {
            let peer = request.extensions().get::<Peer>().map(|peer| (peer.address, peer.secure));
            match (previews.filter(|previews| previews.is_for_preview(&request)), peer) {
                (Some(previews), Some((address, secure))) => {
                    Ok(previews.serve(request, address, secure).await)
                }
                _ => routes.oneshot(request).await,
            }
        }
    })
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
