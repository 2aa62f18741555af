//! The gateway's end of its stream to the leader.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use futures::StreamExt;
use http::{Request, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;

use super::{
    certificates::CONTROLLER,
    leader::{STREAM, line, messages},
    messages::{Down, Up},
    peers::{self, ClientTls},
};
use crate::{controller::lease::ANNOTATION_ADDRESS, gateway::Gateway};

/// Time until it is looked whether this replica still leads.
const AT_REST: Duration = Duration::from_secs(5);
/// Time until the leader is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// Time for the leader to take the stream.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who leads.
enum Leader {
    /// Another replica, which is reached there.
    Another(String),
    /// This replica: nothing goes over the network.
    Myself,
    /// Nobody, at the moment.
    Nobody,
}

/// Where the leader is found, and who this replica is.
pub struct Follower {
    /// The Lease that names the leader.
    pub leases: Api<Lease>,
    /// Its name.
    pub lease: String,
    /// This replica.
    pub identity: String,
    /// Where other replicas reach this one.
    pub address: String,
    /// How this replica shows itself.
    pub tls: ClientTls,
    /// Where the leader is, for those who have something to ask of it.
    pub leader: watch::Sender<Option<String>>,
}

impl Follower {
    /// For the Lease of this name.
    pub fn new(
        client: &Client,
        namespace: &str,
        lease: &str,
        identity: &str,
        address: &str,
        tls: ClientTls,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            lease: lease.to_owned(),
            identity: identity.to_owned(),
            address: address.to_owned(),
            tls,
            leader: watch::Sender::new(None),
        }
    }

    /// Keeps a stream to whoever is the leader, for ever. While this replica is the leader itself
    /// nothing goes over the network.
    pub async fn run(self, gateway: Gateway) {
        loop {
            let pause = match self.look().await {
                Ok(Leader::Another(address)) => {
                    match self.follow(&address, &gateway).await {
                        Ok(()) => tracing::info!(leader = address, "the leader ended the stream"),
                        Err(error) => tracing::debug!(leader = address, "no stream to the leader: {error:#}"),
                    }
                    RETRY
                }
                Ok(Leader::Myself) => AT_REST,
                Ok(Leader::Nobody) => RETRY,
                Err(error) => {
                    tracing::debug!(%error, "the leader could not be looked for");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self) -> kube::Result<Leader> {
        let leader = match self.leases.get_opt(&self.lease).await? {
            Some(lease) => self.named_by(lease),
            None => Leader::Nobody,
        };
        self.leader.send_replace(match &leader {
            Leader::Another(address) => Some(address.clone()),
            Leader::Myself => Some(self.address.clone()),
            Leader::Nobody => None,
        });
        Ok(leader)
    }

    fn named_by(&self, lease: Lease) -> Leader {
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let address = lease.metadata.annotations.and_then(|mut all| all.remove(ANNOTATION_ADDRESS));
        match address {
            _ if holder == self.identity => Leader::Myself,
            Some(address) if !holder.is_empty() => Leader::Another(address),
            _ => Leader::Nobody,
        }
    }

    async fn follow(&self, leader: &str, gateway: &Gateway) -> anyhow::Result<()> {
        let tls = Arc::clone(&self.tls.borrow());
        let mut leader = tokio::time::timeout(PATIENCE, peers::connect(leader, tls, CONTROLLER)).await??;
        let hello = Up::Hello { gateway: self.identity.clone(), address: self.address.clone() };
        let up = futures::stream::once(async { hello }).chain(gateway.hub.reports().map(Up::Report));
        let body = Body::from_stream(up.map(|message| line(&message)));
        let request = Request::post(format!("https://{CONTROLLER}{STREAM}")).body(body)?;
        leader.ready().await?;
        let answer = tokio::time::timeout(PATIENCE, leader.send_request(request)).await??;
        anyhow::ensure!(answer.status() == StatusCode::OK, "it answered {}", answer.status());
        tracing::info!("has a stream to the leader");
        let mut down = messages::<Down>(Body::new(answer.into_body()));
        while let Some(message) = down.next().await {
            gateway.take(message);
        }
        Ok(())
    }
}
