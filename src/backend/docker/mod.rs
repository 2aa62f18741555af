//! Docker hosts.
//!
//! A body is a bridge network, two volumes and one or more containers on one host. What belongs
//! to whom stands on the host itself: in labels (instance and id), in the name of the container
//! (the owner), and in a file inside it (the owner with its uid). Every action looks at these marks
//! first, and does nothing when they name somebody else.
//!
//! Each host has two tasks: [`health`] decides whether it is up, [`events`] reports what happens
//! on it. Calls to a host that is down fail at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::try_join_all;
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
};

use super::{
    AgentBinary, AgentProgram, Backend, BackendError, Body, BodyRef, Change, ContainerRef, ContainerSpec,
    Found, Guest, HostState, ImageRequest, InstanceId, LogRequest, LogStream, OwnedItem, Owner, Reason,
    Report, RunState,
};
use crate::config;

mod agent;
mod containers;
mod create;
mod errors;
mod events;
mod exec;
mod find;
mod health;
mod host;
mod images;
mod labels;
mod logs;
mod networks;
mod owner_file;
mod power;
mod progress;
mod reference;
mod ssh;
mod subnet;
mod tls;
mod transport;
mod volumes;

use host::Host;

/// Changes that a slow listener may be behind.
const CHANGES: usize = 1024;

/// A backend of one or several Docker hosts.
pub struct DockerBackend {
    hosts: BTreeMap<String, Arc<Host>>,
    changes: broadcast::Sender<Change>,
    /// End with the backend.
    _tasks: JoinSet<()>,
}

impl DockerBackend {
    /// A backend for the configured hosts. They need not be up: it connects to them in the
    /// background, and again whenever they come back. With an agent, containers are made with it.
    /// Must be called inside a Tokio runtime.
    pub fn connect(
        config: &config::DockerBackend,
        instance: InstanceId,
        agent: Option<AgentBinary>,
    ) -> Result<Arc<dyn Backend>, BackendError> {
        let changes = broadcast::Sender::new(CHANGES);
        let mut hosts = BTreeMap::new();
        for host in &config.hosts {
            let connected = Host::new(config, host, &instance, agent.clone(), changes.clone())?;
            hosts.insert(host.name.clone(), Arc::new(connected));
        }
        let mut tasks = JoinSet::new();
        for host in hosts.values() {
            tasks.spawn(health::watch(Arc::clone(host)));
            tasks.spawn(events::watch(Arc::clone(host)));
        }
        Ok(Arc::new(Self { hosts, changes, _tasks: tasks }))
    }

    fn host(&self, name: &str) -> Result<&Arc<Host>, BackendError> {
        self.hosts
            .get(name)
            .ok_or_else(|| errors::refuse(name, Reason::NotFound, "is not in the configuration"))
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn hosts(&self) -> Vec<HostState> {
        self.hosts.values().map(|host| host.state()).collect()
    }

    async fn inspect(&self, body: &BodyRef) -> Result<Body, BackendError> {
        let host = self.host(&body.host)?;
        let (containers, networks, volumes) = futures::try_join!(
            containers::inspect(host, body),
            networks::of_body(host, body.id),
            volumes::of_body(host, body.id),
        )?;
        let volumes = volumes.into_iter().map(|volume| volume.name).collect();
        Ok(Body { containers, network: !networks.is_empty(), volumes, unfinished: false })
    }

    async fn find(&self, owner: &Owner) -> Result<Vec<Found>, BackendError> {
        let found = try_join_all(self.hosts.values().map(|host| find::find(host, owner))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn list(&self, host: &str) -> Result<Vec<OwnedItem>, BackendError> {
        find::list(self.host(host)?).await
    }

    async fn prepare_image(
        &self,
        host: &str,
        image: &ImageRequest,
        progress: &watch::Sender<Report>,
    ) -> Result<(), BackendError> {
        images::prepare(self.host(host)?, image, progress).await
    }

    async fn create(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        _progress: &watch::Sender<Report>,
    ) -> Result<(), BackendError> {
        create::create(self.host(&body.host)?, body, spec).await
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), BackendError> {
        power::start(self.host(&container.body.host)?, container).await
    }

    async fn stop(&self, container: &ContainerRef, grace: Duration) -> Result<(), BackendError> {
        power::stop(self.host(&container.body.host)?, container, grace).await
    }

    async fn remove_container(&self, container: &ContainerRef) -> Result<(), BackendError> {
        power::remove_one(self.host(&container.body.host)?, container).await
    }

    async fn remove(&self, body: &BodyRef, retain_volumes: bool) -> Result<(), BackendError> {
        power::remove_all(self.host(&body.host)?, body, retain_volumes).await
    }

    async fn guest(&self, container: &ContainerRef) -> Result<Box<dyn Guest>, BackendError> {
        let host = self.host(&container.body.host)?;
        let containers = containers::inspect(host, &container.body).await?;
        let found = containers.into_iter().find(|found| found.incarnation == container.incarnation);
        match found {
            Some(found) if found.state == RunState::Running => {
                Ok(Box::new(exec::DockerGuest::new(Arc::clone(host), found.id)))
            }
            Some(found) => {
                let words = format!("container {} is not running", found.name);
                Err(errors::refuse(&host.name, Reason::NotRunning, words))
            }
            None => containers::existing(host, container).await.and_then(|found| {
                let words = format!("container {} is being removed", found.name);
                Err(errors::refuse(&host.name, Reason::NotRunning, words))
            }),
        }
    }

    async fn logs(&self, container: &ContainerRef, request: &LogRequest) -> Result<LogStream, BackendError> {
        logs::open(self.host(&container.body.host)?, container, request).await
    }

    fn brings_agents(&self) -> bool {
        self.hosts.values().any(|host| host.agent.is_some())
    }

    async fn deliver_agent(&self, container: &ContainerRef) -> Result<AgentProgram, BackendError> {
        agent::deliver(self.host(&container.body.host)?, container).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
