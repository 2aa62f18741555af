//! TLS with the nodes of a cluster.

use std::{collections::BTreeSet, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::connection::{Fingerprint, InvalidConnection, Trust};

/// The settings with which connections are made secure.
pub(super) fn config(trust: &Trust) -> Result<ClientConfig, InvalidConnection> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let mut config = match trust {
        Trust::SystemRoots => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::Authorities(pem) => builder.with_root_certificates(authorities(pem)?).with_no_client_auth(),
        Trust::Pinned(pins) if pins.is_empty() => {
            return Err(InvalidConnection::Trust("no fingerprint is pinned".to_owned()));
        }
        Trust::Pinned(pins) => {
            let accepted = Accepted::Only(pins.clone());
            let verifier = Arc::new(Verifier { accepted, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        Trust::InsecureSkipVerify => {
            let verifier = Arc::new(Verifier { accepted: Accepted::Any, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn system_roots() -> Result<RootCertStore, InvalidConnection> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(InvalidConnection::Trust("this machine knows no certificate authority".into()));
    }
    Ok(roots)
}

fn authorities(pem: &str) -> Result<RootCertStore, InvalidConnection> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(unusable)?).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(InvalidConnection::Trust("no certificate in the bundle".into()));
    }
    Ok(roots)
}

fn unusable(error: impl std::fmt::Display) -> InvalidConnection {
    InvalidConnection::Trust(error.to_string())
}

#[derive(Debug)]
enum Accepted {
    Only(BTreeSet<Fingerprint>),
    Any,
}

/// Looks at the certificate alone, not at who signed it. That the other end holds its key is
/// still verified.
#[derive(Debug)]
struct Verifier {
    accepted: Accepted,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::new(Sha256::digest(certificate).into());
        match &self.accepted {
            Accepted::Only(pins) if !pins.contains(&shown) => {
                Err(rustls::Error::General(format!("certificate {shown} is not one of those pinned")))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
