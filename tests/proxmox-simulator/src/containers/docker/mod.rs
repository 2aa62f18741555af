//! Containers that are real: Docker containers with an init and a network of their own.
//!
//! Only what Docker is asked lives here. What a container may be asked, when and by whom, is the
//! API's. Everything made has the labels of [`labels`]; [`cleanup()`] finds it by them.

mod archive;
mod boot;
mod cleanup;
mod errors;
mod exec;
mod labels;
mod make;
mod network;
mod power;
mod setup;
mod state;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bollard::Docker;
use ipnet::Ipv4Net;
use tokio::sync::{Mutex, mpsc};

pub use self::cleanup::cleanup;
use super::{Boot, Chunk, Containers, Init, Input, Output, RunState, Setup};

/// A large file system takes long to copy.
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// What a cluster's containers are made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tells this simulator's containers from those of others on the machine.
    pub cluster: String,
    /// The image of each OS template, by the start of the template's file name.
    pub templates: BTreeMap<String, String>,
    /// The networks of bridges. A bridge that is not named here gets a free one.
    pub bridges: BTreeMap<String, Ipv4Net>,
}

/// The containers of one simulated cluster, on the Docker of this machine.
pub struct DockerContainers {
    docker: Docker,
    settings: Settings,
    /// Two starts do not make the same network twice.
    networks: Mutex<()>,
    /// A copy's image is not removed between its making and its use.
    images: Mutex<()>,
}

impl DockerContainers {
    /// Containers in this Docker.
    pub fn new(docker: Docker, settings: Settings) -> Self {
        let docker = docker.with_timeout(LONGEST_CALL);
        Self { docker, settings, networks: Mutex::default(), images: Mutex::default() }
    }

    /// The network of a bridge, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// What Docker says when it can not be made.
    pub async fn subnet(&self, bridge: &str) -> Result<Ipv4Net, String> {
        Ok(self.bridge(bridge).await?.subnet)
    }

    /// Removes everything of the cluster.
    ///
    /// # Errors
    ///
    /// What Docker says when something can not be removed.
    pub async fn cleanup(&self) -> Result<(), String> {
        cleanup(&self.docker, Some(&self.settings.cluster)).await
    }

    async fn bridge(&self, name: &str) -> Result<boot::Bridge, String> {
        let _one = self.networks.lock().await;
        let given = self.settings.bridges.get(name).copied();
        network::ensure(&self.docker, &self.settings.cluster, name, given).await
    }

    fn image(&self, os_template: &str) -> Result<String, String> {
        let file = os_template.rsplit(['/', ':']).next().unwrap_or_default();
        let mut known = self.settings.templates.iter();
        let image = known.find(|(template, _)| file.starts_with(template.as_str())).map(|(_, image)| image);
        image.cloned().ok_or_else(|| format!("volume '{os_template}' does not exist"))
    }
}

#[async_trait]
impl Containers for DockerContainers {
    async fn create(&self, vmid: u32, os_template: &str, setup: &Setup) -> Result<(), String> {
        let image = self.image(os_template)?;
        let description =
            make::Description { cluster: &self.settings.cluster, vmid, image, stop_signal: None };
        let made = make::container(&self.docker, description).await?;
        let written = setup::write(&self.docker, &made, setup).await;
        if written.is_err() {
            cleanup::remove_container(&self.docker, &made).await?;
        }
        written
    }

    async fn copy(&self, from: u32, to: u32) -> Result<(), String> {
        let _one = self.images.lock().await;
        make::copy(&self.docker, &self.settings.cluster, from, to).await
    }

    async fn start(&self, vmid: u32, boot: &Boot) -> Result<(), String> {
        let mut cards = Vec::new();
        for nic in &boot.net {
            cards.push((nic, self.bridge(&nic.bridge).await?));
        }
        power::start(&self.docker, &self.settings.cluster, vmid, boot, &cards).await
    }

    async fn shutdown(&self, vmid: u32, timeout: Duration) -> Result<bool, String> {
        power::shutdown(&self.docker, &self.settings.cluster, vmid, timeout).await
    }

    async fn kill(&self, vmid: u32) -> Result<(), String> {
        power::kill(&self.docker, &self.settings.cluster, vmid).await
    }

    async fn remove(&self, vmid: u32) -> Result<(), String> {
        let _one = self.images.lock().await;
        let name = labels::container_name(&self.settings.cluster, vmid);
        cleanup::remove_container(&self.docker, &name).await?;
        cleanup::remove_spare_images(&self.docker, &self.settings.cluster).await
    }

    async fn state(&self, vmid: u32) -> Result<RunState, String> {
        state::of(&self.docker, &self.settings.cluster, vmid).await
    }

    async fn init(&self, vmid: u32) -> Result<Option<Init>, String> {
        state::init(&self.docker, &self.settings.cluster, vmid).await
    }

    async fn exec(&self, vmid: u32, argv: &[String], stdin: &[u8]) -> Result<Output, String> {
        exec::collect(&self.docker, &self.settings.cluster, vmid, argv, stdin).await
    }
    async fn attach(
        &self,
        vmid: u32,
        argv: &[String],
        stdin: Input,
        outputs: mpsc::Sender<Chunk>,
    ) -> Result<i32, String> {
        exec::run(&self.docker, &self.settings.cluster, vmid, argv, stdin, outputs).await
    }
}
