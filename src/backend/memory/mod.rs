//! Hosts that exist only inside the process: for tests, chaos and scale runs.
//!
//! [`world`] is what "exists", with the rules of a real host and a memory of everything that ever
//! went against them; [`MemoryBackend`] is a view of it with delays and faults. Several backends
//! can stand on one world, as an operator and its successor do.

mod faults;
mod guest;
#[cfg(test)]
mod tests;
mod world;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

pub use world::MemoryWorld;

use crate::config;

use super::{
    Backend, BackendError, Body, BodyRef, Change, ContainerRef, ContainerSpec, Found, Guest, HostState,
    ImageRequest, InstanceId, OwnedItem, Owner, Reason, Source, TemplatePlace,
};
use faults::Faults;
use guest::MemoryGuest;

/// Memory that each host says it has.
const HOST_MEMORY: u64 = 1 << 42;
/// The first number of containers that are made from OS templates.
const FIRST_NUMBER: u32 = 9000;
/// Processors that each host says it has.
const HOST_CPUS: u32 = 64;

/// A backend inside the process.
pub struct MemoryBackend {
    world: Arc<MemoryWorld>,
    instance: InstanceId,
    faults: Faults,
}

impl MemoryBackend {
    /// A backend on a world of its own.
    pub fn new(config: &config::MemoryBackend, instance: InstanceId) -> Arc<Self> {
        Self::on(MemoryWorld::new(&config.hosts), config, instance)
    }

    /// A backend on a world that others may share.
    pub fn on(world: Arc<MemoryWorld>, config: &config::MemoryBackend, instance: InstanceId) -> Arc<Self> {
        Arc::new(Self { world, instance, faults: Faults::new(config) })
    }

    /// What exists.
    pub fn world(&self) -> &Arc<MemoryWorld> {
        &self.world
    }

    /// Does something that reads: it may be slow or fail.
    async fn read<T>(
        &self,
        host: &str,
        act: impl FnOnce(&MemoryWorld) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.faults.pass_time().await;
        self.world.check_host(host)?;
        match self.faults.strikes() {
            Some(error) => Err(error),
            None => act(&self.world),
        }
    }

    /// Does something that changes the world: it may be slow, fail before it took effect, or take
    /// effect and have its answer lost.
    async fn change<T>(
        &self,
        host: &str,
        act: impl FnOnce(&MemoryWorld) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.faults.pass_time().await;
        self.world.check_host(host)?;
        match self.faults.strikes() {
            Some(error) => {
                if self.faults.takes_effect() {
                    let _ = act(&self.world);
                }
                Err(error)
            }
            None => act(&self.world),
        }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn hosts(&self) -> Vec<HostState> {
        self.world
            .hosts()
            .into_iter()
            .map(|(name, down)| HostState {
                name,
                unreachable: down.then(|| "the host is down".to_owned()),
                memory_bytes: HOST_MEMORY,
                memory_used_bytes: 0,
                cpus: HOST_CPUS,
            })
            .collect()
    }

    async fn inspect(&self, body: &BodyRef) -> Result<Body, BackendError> {
        self.read(&body.host, |world| world.inspect(&self.instance, body)).await
    }

    async fn find(&self, owner: &Owner) -> Result<Vec<Found>, BackendError> {
        let mut found = Vec::new();
        for (host, _) in self.world.hosts() {
            found.extend(self.read(&host, |world| Ok(world.find(&self.instance, &host, owner))).await?);
        }
        Ok(found)
    }

    async fn list(&self, host: &str) -> Result<Vec<OwnedItem>, BackendError> {
        self.read(host, |world| Ok(world.list(&self.instance, host))).await
    }

    async fn prepare_image(
        &self,
        host: &str,
        image: &ImageRequest,
        progress: &watch::Sender<String>,
    ) -> Result<(), BackendError> {
        progress.send_replace(format!("pulling {}", image.image));
        self.read(host, |_| match image.image.as_str() {
            name if name.contains("missing") => {
                Err(BackendError::new(Reason::ImageNotFound, format!("no such image: {name}")))
            }
            name if name.contains("denied") => {
                Err(BackendError::new(Reason::ImagePullDenied, format!("access to {name} is denied")))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Only what is made from an OS template gets a number, as on a cluster.
    async fn reserve(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        taken: &BTreeSet<u32>,
    ) -> Result<Option<u32>, BackendError> {
        let Ok(Source::OsTemplate(_)) = spec.image.parse() else { return Ok(None) };
        self.read(&body.host, |world| Ok(world.free_number(FIRST_NUMBER, taken))).await
    }

    async fn create(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        _progress: &watch::Sender<String>,
    ) -> Result<(), BackendError> {
        if spec.image.starts_with("os:") && spec.image.contains("missing") {
            let words = format!("there is no OS template {}", spec.image);
            return Err(BackendError::new(Reason::ImageNotFound, words));
        }
        self.change(&body.host, |world| world.create(&self.instance, body, spec.incarnation)).await
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), BackendError> {
        self.change(&container.body.host, |world| world.start(&self.instance, container)).await
    }

    async fn stop(&self, container: &ContainerRef, _grace: Duration) -> Result<(), BackendError> {
        self.change(&container.body.host, |world| world.stop(&self.instance, container)).await
    }

    async fn remove_container(&self, container: &ContainerRef) -> Result<(), BackendError> {
        self.change(&container.body.host, |world| {
            world.remove_container(&self.instance, &container.body, container.incarnation)
        })
        .await
    }

    async fn remove(&self, body: &BodyRef, retain_volumes: bool) -> Result<(), BackendError> {
        self.change(&body.host, |world| world.remove(&self.instance, body, retain_volumes)).await
    }

    async fn guest(&self, container: &ContainerRef) -> Result<Box<dyn Guest>, BackendError> {
        self.read(&container.body.host, |world| world.check_running(&self.instance, container)).await?;
        Ok(Box::new(MemoryGuest::new(
            Arc::clone(&self.world),
            self.instance.clone(),
            container.clone(),
            self.faults.clone(),
        )))
    }

    async fn make_template(
        &self,
        container: &ContainerRef,
        _progress: &watch::Sender<String>,
    ) -> Result<(), BackendError> {
        self.change(&container.body.host, |world| world.convert(&self.instance, container)).await
    }

    async fn template(&self, number: u32) -> Result<TemplatePlace, BackendError> {
        let host = self.world.template(number)?;
        self.read(&host, |_| Ok(())).await?;
        Ok(TemplatePlace { host, storage: Some("memory".to_owned()) })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.world.changes()
    }
}
