//! The listener that kube-apiserver connects to.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use kube::Client;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::api::{front_proxy, serve};
use crate::{config::gateway::AggregatedConfig, internal::certificates::Identity};

/// Serves the API behind kube-apiserver until `stop` is cancelled.
pub async fn start(
    client: &Client,
    settings: &AggregatedConfig,
    identity: watch::Receiver<Identity>,
    router: Router,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listen = settings.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("gateway.aggregated.listen {listen}"))?;
    let address = listener.local_addr()?;
    let front_proxy = front_proxy::follow(client.clone(), stop.clone());
    let certificate = certificate(identity, stop);
    tokio::spawn(serve::serve_aggregated(listener, certificate, front_proxy, router, stop.clone()));
    tracing::info!(%address, "the API behind kube-apiserver is served");
    Ok(())
}

/// The certificate to show, replaced whenever there is a newer one.
fn certificate(
    mut identity: watch::Receiver<Identity>,
    stop: &CancellationToken,
) -> serve::ServingCertificate {
    let sender = watch::Sender::new(None);
    let receiver = sender.subscribe();
    let follow = async move {
        loop {
            match parse(&identity.borrow_and_update()) {
                Ok(parsed) => {
                    sender.send_replace(Some(Arc::new(parsed)));
                }
                Err(error) => tracing::warn!("the certificate can not be used: {error:#}"),
            }
            if identity.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
    receiver
}

fn parse(identity: &Identity) -> anyhow::Result<CertifiedKey> {
    let certificates =
        CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    Ok(CertifiedKey::from_der(certificates, key, &ring::default_provider())?)
}
