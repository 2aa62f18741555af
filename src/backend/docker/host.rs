//! One Docker host: its client, what is known of its health, and the limits on every call.

use std::{future::Future, net::IpAddr, time::Duration};

use bollard::Docker;
use ipnet::Ipv4Net;
use tokio::{
    sync::{Mutex, Notify, OnceCell, broadcast, watch},
    time::timeout,
};

use super::{errors, transport};
use crate::{
    backend::{AgentBinary, BackendError, Change, HostState, InstanceId, Reason},
    config::{
        DockerHost,
        docker::{DockerBackend, RestartPolicy},
    },
};

/// Limit of a call that only looks.
pub(super) const LOOK: Duration = Duration::from_secs(10);
/// Limit of a call that changes something: a busy disk may need longer.
pub(super) const CHANGE: Duration = Duration::from_secs(30);

/// One Docker host.
pub(super) struct Host {
    /// Name in the configuration.
    pub(super) name: String,
    /// The operator's mark.
    pub(super) instance: InstanceId,
    /// Addresses for the workspaces' networks.
    pub(super) network_range: Ipv4Net,
    /// DNS servers of containers that set none.
    pub(super) dns_servers: Vec<IpAddr>,
    /// Whether Docker restarts containers by itself.
    pub(super) restart_policy: RestartPolicy,
    /// Held while a subnet is chosen and taken.
    pub(super) subnets: Mutex<()>,
    /// The client. Calls go through [`Host::call`].
    pub(super) docker: Docker,
    /// The agent that containers are made with.
    pub(super) agent: Option<AgentBinary>,
    /// Filled once the agent is on the host.
    pub(super) agent_installed: OnceCell<()>,
    /// Where changes are announced.
    pub(super) changes: broadcast::Sender<Change>,
    /// What the health check saw last.
    pub(super) health: watch::Sender<Health>,
    /// Wakes the health check before its time.
    pub(super) suspicion: Notify,
}

/// What is known of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Health {
    /// Whether it answers.
    pub(super) reachable: Reachable,
    /// Its memory in bytes.
    pub(super) memory_bytes: u64,
    /// Its processors.
    pub(super) cpus: u32,
}

/// Whether a host answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Reachable {
    /// The first check has not ended yet.
    #[default]
    Unknown,
    /// It answers.
    Yes,
    /// It does not, for this reason.
    No(String),
}

impl Host {
    pub(super) fn new(
        config: &DockerBackend,
        host: &DockerHost,
        instance: &InstanceId,
        agent: Option<AgentBinary>,
        changes: broadcast::Sender<Change>,
    ) -> Result<Self, BackendError> {
        let dialer = transport::Dialer::new(host)
            .map_err(|words| errors::refuse(&host.name, Reason::Unsupported, words))?;
        let docker =
            transport::client(dialer).map_err(|error| errors::from_docker(&host.name, "set up", &error))?;
        Ok(Self {
            name: host.name.clone(),
            instance: instance.clone(),
            network_range: config.network_range,
            dns_servers: config.dns_servers.clone(),
            restart_policy: config.restart_policy,
            subnets: Mutex::new(()),
            docker,
            agent,
            agent_installed: OnceCell::new(),
            changes,
            health: watch::Sender::new(Health::default()),
            suspicion: Notify::new(),
        })
    }

    /// What the last health check saw, without asking the host.
    pub(super) fn state(&self) -> HostState {
        let health = self.health.borrow().clone();
        HostState {
            name: self.name.clone(),
            unreachable: match health.reachable {
                Reachable::Yes => None,
                Reachable::Unknown => Some(format!("docker host {}: has not answered yet", self.name)),
                Reachable::No(words) => Some(words),
            },
            memory_bytes: health.memory_bytes,
            memory_used_bytes: 0,
            cpus: health.cpus,
        }
    }

    /// Does one thing on the host, within a limit. Fails at once while the host is known to be
    /// down.
    pub(super) async fn call<T>(
        &self,
        action: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, BackendError> {
        self.try_call(action, limit, call)
            .await?
            .map_err(|error| errors::from_docker(&self.name, action, &error))
    }

    /// Like [`Host::call`] for callers to whom some answers of the daemon are no errors.
    pub(super) async fn try_call<T>(
        &self,
        action: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<Result<T, bollard::errors::Error>, BackendError> {
        self.usable(limit).await?;
        match timeout(limit, call).await {
            Ok(answer) => {
                let unreachable = answer
                    .as_ref()
                    .err()
                    .is_some_and(|error| errors::from_docker("", "", error).reason == Reason::Unreachable);
                if unreachable {
                    self.suspicion.notify_one();
                }
                Ok(answer)
            }
            Err(_) => {
                self.suspicion.notify_one();
                Err(errors::timed_out(&self.name, action, limit))
            }
        }
    }

    /// Fails when the host is known to be down. Waits for the first health check, which also
    /// settles the version of the API.
    pub(super) async fn usable(&self, limit: Duration) -> Result<(), BackendError> {
        let mut health = self.health.subscribe();
        let known = timeout(limit, health.wait_for(|health| health.reachable != Reachable::Unknown)).await;
        match known {
            Ok(Ok(health)) => match &health.reachable {
                Reachable::No(words) => Err(BackendError::new(Reason::Unreachable, words)),
                _ => Ok(()),
            },
            _ => Err(errors::timed_out(&self.name, "connect", limit)),
        }
    }

    /// Ends when the host is known to be down, with the error to report.
    pub(super) async fn down(&self) -> BackendError {
        let mut health = self.health.subscribe();
        match health.wait_for(|health| matches!(health.reachable, Reachable::No(_))).await.as_deref() {
            Ok(Health { reachable: Reachable::No(words), .. }) => {
                BackendError::new(Reason::Unreachable, words)
            }
            _ => errors::refuse(&self.name, Reason::Unreachable, "is gone"),
        }
    }

    /// Announces a change. It is no error that nobody listens.
    pub(super) fn announce(&self, change: Change) {
        let _ = self.changes.send(change);
    }
}
