//! Which of several replicas works: a `Lease` that is taken and renewed with resource version
//! preconditions.
//!
//! A replica believes another one's lease for as long as it has seen it change within the lease's
//! duration by its own clock, so clocks need not agree. A holder that can not renew stops before
//! the others may take over.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio_util::sync::CancellationToken;

/// Where the holder of the lease is reached by other replicas: host and port.
pub const ANNOTATION_ADDRESS: &str = "berth.dev/internal-address";

/// One replica's view of the lease.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    address: Option<String>,
    duration: Duration,
    renew_interval: Duration,
    /// The foreign lease as it was last seen to change, and when.
    seen: Option<(String, Instant)>,
}

/// Proof of having the lease, as of a moment.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    renewed: Instant,
}

/// Why a lease is not held any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Another replica has it.
    #[error("another replica has taken the lease")]
    Taken,
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time: {0}")]
    NotRenewed(String),
}

impl Election {
    /// An election over the lease of this name. The client should be the election's own, so that
    /// a busy operator does not keep it from renewing.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        duration: Duration,
        renew_interval: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            address: None,
            duration,
            renew_interval,
            seen: None,
        }
    }

    /// Lets the lease say where its holder is reached by other replicas.
    #[must_use]
    pub fn announcing(mut self, address: Option<String>) -> Self {
        self.address = address;
        self
    }

    fn metadata(&self, mut metadata: ObjectMeta) -> ObjectMeta {
        let annotations = metadata.annotations.get_or_insert_default();
        match &self.address {
            Some(address) => annotations.insert(ANNOTATION_ADDRESS.to_owned(), address.clone()),
            None => annotations.remove(ANNOTATION_ADDRESS),
        };
        metadata
    }

    /// Waits until this replica has the lease.
    pub async fn acquire(&mut self) -> Held {
        let mut waiting = false;
        loop {
            match self.try_acquire().await {
                Ok(Some(held)) => return held,
                Ok(None) if !waiting => {
                    waiting = true;
                    tracing::info!(lease = self.name, "another replica is at work; standing by");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(lease = self.name, %error, "the lease can not be asked for"),
            }
            tokio::time::sleep(self.renew_interval.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }

    async fn try_acquire(&mut self) -> kube::Result<Option<Held>> {
        let started = Instant::now();
        let Some(current) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: self.metadata(ObjectMeta { name: Some(self.name.clone()), ..Default::default() }),
                spec: Some(self.spec(0)),
            };
            return not_taken(self.api.create(&PostParams::default(), &lease).await, started);
        };
        if !self.may_take(&current) {
            return Ok(None);
        }
        let spec = current.spec.clone().unwrap_or_default();
        let ours = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(!ours);
        let lease = Lease { metadata: self.metadata(current.metadata), spec: Some(self.spec(transitions)) };
        not_taken(self.api.replace(&self.name, &PostParams::default(), &lease).await, started)
    }

    /// Whether the lease is free, ours, or has not been renewed for as long as it holds.
    fn may_take(&mut self, lease: &Lease) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holds =
            Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().max(1).unsigned_abs().into());
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= holds,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.duration.as_secs().try_into().unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }

    /// Renews the lease until it is lost or `stop` is cancelled; `Ok` in the latter case.
    pub async fn keep(&self, mut held: Held, stop: &CancellationToken) -> Result<Held, Lost> {
        // A tenth of the lease's time is left for stopping what is under way.
        let margin = self.duration.mul_f64(0.9);
        let mut last_error = String::from("no answer");
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(held),
                () = tokio::time::sleep(self.renew_interval) => {}
            }
            let deadline = margin.saturating_sub(held.renewed.elapsed());
            let started = Instant::now();
            match tokio::time::timeout(deadline, self.renew(&held.lease)).await {
                Ok(Ok(lease)) => held = Held { lease, renewed: started },
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                    // Somebody wrote in between; it is still ours only if it says so.
                    match self.api.get_opt(&self.name).await {
                        Ok(Some(lease)) if self.is_ours(&lease) => held.lease = lease,
                        Ok(_) => return Err(Lost::Taken),
                        Err(error) => last_error = error.to_string(),
                    }
                }
                Ok(Err(error)) => last_error = error.to_string(),
                Err(_) => {}
            }
            if held.renewed.elapsed() >= margin {
                return Err(Lost::NotRenewed(last_error));
            }
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(self.identity.as_str())
    }

    async fn renew(&self, lease: &Lease) -> kube::Result<Lease> {
        let mut next = lease.clone();
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        self.api.replace(&self.name, &PostParams::default(), &next).await
    }

    /// Gives the lease up, so that another replica need not wait for it to run out.
    pub async fn release(&self, held: Held) {
        let mut lease = held.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::warn!(%error, "the lease could not be given up; it runs out by itself");
        }
    }
}

fn not_taken(result: kube::Result<Lease>, started: Instant) -> kube::Result<Option<Held>> {
    match result {
        Ok(lease) => Ok(Some(Held { lease, renewed: started })),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
