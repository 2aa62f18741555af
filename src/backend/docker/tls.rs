//! Mutual TLS with a daemon.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::docker::DockerTls;

/// Makes an open connection secret, and both ends known to each other. Only the configured
/// authority is trusted. The files are read each time, so that renewed certificates are used
/// without a restart.
pub(super) async fn handshake(
    host: &str,
    stream: TcpStream,
    files: &DockerTls,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let owned = files.clone();
    let config =
        tokio::task::spawn_blocking(move || client_config(&owned)).await.map_err(io::Error::other)??;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn client_config(files: &DockerTls) -> io::Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&files.ca_file)? {
        authorities.add(certificate).map_err(io::Error::other)?;
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| unreadable(&files.key_file, &error))?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities)
        .with_client_auth_cert(certificates(&files.cert_file)?, key)
        .map_err(io::Error::other)
}

fn certificates(path: &std::path::Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(path, &error))
}

// Not the kind of the error: a missing certificate must not look like a missing socket.
fn unreadable(path: &std::path::Path, error: &pem::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
