//! The way into workspaces: the aggregated API behind kube-apiserver, and the public address with
//! agents' links, previews and the terminal page.
//!
//! A gateway holds no credentials of a backend, writes no custom resource and reads no Secret of
//! a user's. What it knows of workspaces it has from watches; what it does in one it asks of the
//! agent there, through [`access::Agents`].

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use kube::Client;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, GatewayConfig},
    controller::agents::Wanted,
    link::{accept::Acceptor, hub::Hub, keys::Keys, push},
};

pub mod access;
pub mod objects;
pub mod public;
pub mod terminal;
pub mod tickets;

/// A running gateway, as the rest of the process holds it.
#[derive(Clone)]
pub struct Gateway {
    /// The links that it holds.
    pub hub: Arc<Hub>,
    /// What the leader wants of the agents.
    pub wanted: watch::Sender<Wanted>,
    /// Where the public address is served.
    pub address: SocketAddr,
}

/// Starts the gateway, which runs until `stop` is cancelled.
pub async fn start(
    client: &Client,
    config: &Config,
    settings: &GatewayConfig,
    keys: &Keys,
    identity: &str,
    stop: &CancellationToken,
) -> anyhow::Result<Gateway> {
    let tls = settings.tls.as_ref().map(public::tls).transpose()?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("gateway.listen {}", settings.listen))?;
    let address = listener.local_addr()?;
    let hub = Hub::new(identity);
    let workspaces = Arc::new(objects::Workspaces::default());
    for namespace in watched(config) {
        let (client, workspaces, hub) = (client.clone(), Arc::clone(&workspaces), Arc::clone(&hub));
        spawn(stop, async move {
            let changed = |view: &objects::WorkspaceView, there: bool| {
                if let Some(id) = view.id.filter(|_| !there) {
                    hub.close(id);
                }
            };
            workspaces.watch(client, namespace.as_deref(), changed).await;
        });
    }
    let wanted = watch::Sender::new(Wanted::default());
    spawn(stop, push::run(Arc::clone(&hub), wanted.subscribe()));
    let acceptor = Acceptor { keys: keys.tokens.clone(), owners: workspaces, hub: Arc::clone(&hub) };
    tokio::spawn(public::serve(listener, tls, public::routes(Arc::new(acceptor)), stop.clone()));
    tracing::info!(%address, "the gateway is served");
    Ok(Gateway { hub, wanted, address })
}

/// The namespaces to watch, one by one; `None` stands for all.
fn watched(config: &Config) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().cloned().map(Some).collect()
}

fn spawn(stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(work).await });
}
