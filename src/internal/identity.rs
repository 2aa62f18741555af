//! How this process shows itself to the other parts of the installation, kept fresh.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    certificates::{CONTROLLER, GATEWAY, Identity, Store},
    peers::ClientTls,
    tls,
};
use crate::listener::Tls;

/// Time until what is missing is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two looks for a newer certificate.
const REFRESH: Duration = Duration::from_secs(600);

/// What this process shows of itself.
#[derive(Clone)]
pub struct Shown {
    /// To those who connect to it.
    pub server: Tls,
    /// To those it connects to.
    pub client: ClientTls,
    /// The certificate itself.
    pub identity: watch::Receiver<Identity>,
}

/// Gets a certificate, and a newer one whenever there is one, until `stop` is cancelled. With
/// `controls` this process makes its own, and that of the gateways too; otherwise it waits for
/// those who do.
pub async fn obtain(store: Store, controls: bool, stop: &CancellationToken) -> anyhow::Result<Shown> {
    let first = loop {
        match fresh(&store, controls).await {
            Ok(Some(identity)) => break identity,
            Ok(None) => tracing::info!("waiting for the controller to give out a certificate"),
            Err(error) => tracing::warn!("no certificate for internal connections: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let (server, client) = (
        watch::Sender::new(Arc::new(tls::server(&first)?)),
        watch::Sender::new(Arc::new(tls::client(&first)?)),
    );
    let identity = watch::Sender::new(first);
    let shown =
        Shown { server: server.subscribe(), client: client.subscribe(), identity: identity.subscribe() };
    let stop = stop.clone();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            match fresh(&store, controls).await {
                Ok(Some(newer)) => {
                    if let Err(error) = replace(&server, &client, &identity, newer) {
                        tracing::warn!("a new certificate can not be used: {error:#}");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("certificates can not be renewed: {error:#}"),
            }
        }
    }));
    Ok(shown)
}

fn replace(
    server: &watch::Sender<Arc<ServerConfig>>,
    client: &watch::Sender<Arc<rustls::ClientConfig>>,
    identity: &watch::Sender<Identity>,
    newer: Identity,
) -> anyhow::Result<()> {
    server.send_replace(Arc::new(tls::server(&newer)?));
    client.send_replace(Arc::new(tls::client(&newer)?));
    identity.send_replace(newer);
    Ok(())
}

async fn fresh(store: &Store, controls: bool) -> anyhow::Result<Option<Identity>> {
    if !controls {
        return store.gateway().await;
    }
    let authority = store.authority().await?;
    store.renew_gateway(&authority).await?;
    let names: Vec<String> =
        std::iter::once(GATEWAY.to_owned()).chain(store.service_names().iter().cloned()).collect();
    authority.issue(CONTROLLER, &names).map(Some)
}
