//! Proxmox VE clusters.
//!
//! A body is one LXC container, with its files on its own disk. What belongs to whom stands on the
//! container: in its notes (the owner, the body and its incarnation, given along with the clone) and
//! in its tags (written last: a container without them was not made to its end). Every action looks
//! at the notes first, and does nothing when they name somebody else. Nothing is identified by name,
//! and a VMID alone identifies nothing.
//!
//! [`client`] speaks the API of a cluster and decides nothing. [`watch`] looks at the cluster for all
//! workspaces together. Nothing of Kubernetes lives here.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{broadcast, watch as channel},
    task::JoinSet,
};

use super::{
    AgentBinary, AgentProgram, Backend, BackendError, Body, BodyId, BodyRef, Change, ContainerRef,
    ContainerSpec, Found, Guest, HostState, ImageRequest, InstanceId, OwnedItem, Owner, Reason, Source,
    TemplatePlace, ssh,
};
use crate::config;

mod allocate;
pub mod check;
pub mod client;
mod cluster;
mod create;
mod errors;
mod find;
mod grow;
mod inside;
mod inspect;
mod locks;
mod look;
mod mark;
pub mod node_shell;
mod nodes;
mod os_template;
mod power;
mod remove;
mod reserve;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod tun;
pub mod tun_lines;
mod wanted;
mod watch;

use cluster::{Cluster, Ways, lock};

/// Changes that a slow listener may be behind.
const CHANGES: usize = 1024;
/// A connection into a container that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// A backend of one Proxmox VE cluster.
pub struct ProxmoxBackend {
    cluster: Arc<Cluster>,
    changes: broadcast::Sender<Change>,
    /// End with the backend.
    _tasks: JoinSet<()>,
}

impl ProxmoxBackend {
    /// A backend for the configured cluster. It need not be up. Must be called inside a Tokio
    /// runtime.
    pub fn connect(
        config: &config::ProxmoxBackend,
        instance: InstanceId,
        agent: Option<AgentBinary>,
    ) -> Result<Arc<dyn Backend>, BackendError> {
        let connection = settings::connection(config)?;
        if config.tls.insecure_skip_verify {
            tracing::warn!(
                "the cluster's certificate is not checked (insecureSkipVerify): whoever stands between can take the token"
            );
        }
        let client = client::Client::new(&connection)
            .map_err(|error| BackendError::new(Reason::Unsupported, error))?;
        let keys = ssh::PrivateKeys::file(&config.ssh.key_file);
        let guests = ssh::Pool::new(ssh::Settings {
            keys: keys.clone(),
            connect_timeout: config.ssh.connect_timeout.0,
            idle_timeout: IDLE,
        });
        let nodes = config.host_ssh.as_ref().map(|host_ssh| {
            ssh::Pool::new(ssh::Settings {
                keys: ssh::PrivateKeys::file(&host_ssh.key_file),
                connect_timeout: config.ssh.connect_timeout.0,
                idle_timeout: IDLE,
            })
        });
        let ways = Ways { guests, keys, nodes };
        let cluster = Arc::new(Cluster::new(client, config.clone(), instance, agent, ways));
        let changes = broadcast::Sender::new(CHANGES);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch::watch(Arc::clone(&cluster), changes.clone()));
        Ok(Arc::new(Self { cluster, changes, _tasks: tasks }))
    }
}

#[async_trait]
impl Backend for ProxmoxBackend {
    fn hosts(&self) -> Vec<HostState> {
        self.cluster.look.borrow().hosts(&self.cluster.config.nodes)
    }

    async fn inspect(&self, body: &BodyRef) -> Result<Body, BackendError> {
        inspect::inspect(&self.cluster, body).await
    }

    async fn find(&self, owner: &Owner) -> Result<Vec<Found>, BackendError> {
        find::find(&self.cluster, owner).await
    }

    async fn list(&self, host: &str) -> Result<Vec<OwnedItem>, BackendError> {
        find::list(&self.cluster, host).await
    }

    async fn prepare_image(
        &self,
        _host: &str,
        image: &ImageRequest,
        _progress: &channel::Sender<String>,
    ) -> Result<(), BackendError> {
        let Ok(source) = image.image.parse::<Source>();
        match source {
            Source::Template(number) => self.cluster.template_place(number).await.map(drop),
            Source::OsTemplate(_) => Ok(()),
            Source::Image(name) => Err(BackendError::new(
                Reason::Unsupported,
                format!("{name:?} is an image, and this backend clones templates"),
            )),
        }
    }

    async fn hosts_of_image(&self, image: &str) -> Result<Option<Vec<String>>, BackendError> {
        template::hosts(&self.cluster, image).await
    }

    async fn reserve(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        taken: &BTreeSet<u32>,
    ) -> Result<Option<u32>, BackendError> {
        reserve::reserve(&self.cluster, body, spec, taken).await.map(Some)
    }

    async fn create(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        progress: &channel::Sender<String>,
    ) -> Result<(), BackendError> {
        create::create(&self.cluster, body, spec, progress).await
    }

    fn give_up_creation(&self, id: BodyId) {
        lock(&self.cluster.given_up).insert(id);
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), BackendError> {
        power::start(&self.cluster, container).await
    }

    async fn stop(&self, container: &ContainerRef, grace: Duration) -> Result<(), BackendError> {
        power::stop(&self.cluster, container, grace).await
    }

    async fn remove_container(&self, container: &ContainerRef) -> Result<(), BackendError> {
        remove::remove_container(&self.cluster, container).await
    }

    async fn remove(&self, body: &BodyRef, retain_volumes: bool) -> Result<(), BackendError> {
        remove::remove(&self.cluster, body, retain_volumes).await
    }

    async fn guest(&self, container: &ContainerRef) -> Result<Box<dyn Guest>, BackendError> {
        Ok(Box::new(inside::guest(&self.cluster, container).await?))
    }

    fn brings_agents(&self) -> bool {
        self.cluster.agent.is_some()
    }

    async fn deliver_agent(&self, container: &ContainerRef) -> Result<AgentProgram, BackendError> {
        let Some(agent) = &self.cluster.agent else { return Ok(AgentProgram::Missing) };
        let guest = inside::guest(&self.cluster, container).await?;
        ssh::agent::deliver(&guest, agent).await
    }

    async fn make_template(
        &self,
        container: &ContainerRef,
        progress: &channel::Sender<String>,
    ) -> Result<(), BackendError> {
        template::convert(&self.cluster, container, progress).await
    }

    async fn template(&self, number: u32) -> Result<TemplatePlace, BackendError> {
        template::place(&self.cluster, number).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
