//! Whom the agent believes to be the gateway.

use std::{fs, sync::Arc};

use anyhow::Context;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Where distributions keep their certificate authorities.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Trusts the image's certificate authorities, and these in addition.
pub fn client(additional: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = BUNDLES.iter().find_map(|path| fs::read(path).ok()) {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok));
    }
    for certificate in CertificateDer::pem_slice_iter(additional.unwrap_or_default().as_bytes()) {
        roots.add(certificate?).context("certificateAuthorities")?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
