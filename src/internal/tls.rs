//! Both ends of internal connections: each shows a certificate of the installation's authority.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificates::Identity;

fn roots(identity: &Identity) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(identity.authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

fn own(identity: &Identity) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificates =
        CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>()?;
    Ok((certificates, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?))
}

/// The end that is connected to.
pub fn server(identity: &Identity) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(identity)?), Arc::clone(&provider))
            .build()?;
    let (certificates, key) = own(identity)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The end that connects.
pub fn client(identity: &Identity) -> anyhow::Result<ClientConfig> {
    let (certificates, key) = own(identity)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The names in the certificate that the other end showed.
pub fn names(certificates: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    let Some([certificate, ..]) = certificates else { return Vec::new() };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = alternatives.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::internal::certificates::{Authority, CONTROLLER, GATEWAY};

    async fn handshake(
        server: &Identity,
        client: &Identity,
        name: &'static str,
    ) -> anyhow::Result<Vec<String>> {
        let (one, other) = tokio::io::duplex(64 << 10);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(super::server(server)?));
        let connector = tokio_rustls::TlsConnector::from(Arc::new(super::client(client)?));
        let connected = tokio::spawn(async move {
            let mut stream = connector.connect(name.try_into()?, one).await?;
            stream.write_all(b"x").await?;
            stream.read_to_end(&mut Vec::new()).await?;
            anyhow::Ok(())
        });
        let mut stream = acceptor.accept(other).await?;
        stream.read_u8().await?;
        stream.shutdown().await?;
        connected.await??;
        Ok(names(stream.get_ref().1.peer_certificates()))
    }

    #[tokio::test]
    async fn parts_of_one_installation_know_each_other() {
        let authority = Authority::make().unwrap();
        let controller = authority.issue(CONTROLLER, &[GATEWAY.to_owned()]).unwrap();
        let gateway = authority.issue(GATEWAY, &["berth.ns.svc".to_owned()]).unwrap();
        let names = handshake(&controller, &gateway, CONTROLLER).await.unwrap();
        assert_eq!(names, [GATEWAY, "berth.ns.svc"]);
        assert!(handshake(&gateway, &controller, GATEWAY).await.is_ok());
    }

    #[tokio::test]
    async fn a_gateway_can_not_pass_for_the_leader() {
        let authority = Authority::make().unwrap();
        let gateway = authority.issue(GATEWAY, &[]).unwrap();
        assert!(handshake(&gateway, &gateway, CONTROLLER).await.is_err());
    }

    #[tokio::test]
    async fn parts_of_another_installation_are_refused() {
        let ours = Authority::make().unwrap().issue(GATEWAY, &[]).unwrap();
        let theirs = Authority::make().unwrap().issue(GATEWAY, &[]).unwrap();
        assert!(handshake(&ours, &theirs, GATEWAY).await.is_err());
        let disguised = Identity { authority: ours.authority.clone(), ..theirs };
        assert!(handshake(&ours, &disguised, GATEWAY).await.is_err());
    }
}
