//! The cluster: its state, its locks and who waits for them.
//!
//! What a call does to a container is in `lxc`, how long it takes in `tasks`.

pub mod appliances;
pub mod pools;
pub mod reads;
pub mod state;
pub mod storage;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex as Flock, OwnedMutexGuard, Semaphore};

use self::state::{Seen, State};
use crate::{
    access::tickets::Tickets,
    clock::Clock,
    containers::{Containers, Init},
    faults::Faults,
    lxc::config::Config,
    node_ssh::Configurations,
    server::schema::Api,
    settings::Settings,
};

/// How many calls a node's pvedaemon works on at a time.
const DAEMON_WORKERS: usize = 3;

/// How often `/cluster/resources` learns what containers do, in seconds.
const TICK: f64 = 10.0;

/// A simulated cluster.
pub struct Cluster {
    /// How long things take.
    pub clock: Clock,
    /// The description of the API.
    pub api: Api,
    /// Signs tickets.
    pub tickets: Tickets,
    /// What goes wrong.
    pub faults: Faults,
    /// What is behind the API.
    pub containers: Arc<dyn Containers>,
    state: Mutex<State>,
    files: Mutex<HashMap<String, Arc<Flock<()>>>>,
    daemons: BTreeMap<String, Arc<Semaphore>>,
}

impl Cluster {
    /// A cluster as the settings describe it.
    pub fn new(settings: Settings, api: Api, clock: Clock, containers: Arc<dyn Containers>) -> Arc<Self> {
        let nodes = settings.nodes.keys();
        Arc::new(Self {
            clock,
            api,
            tickets: Tickets::new(),
            faults: Faults::default(),
            containers,
            daemons: nodes.map(|name| (name.clone(), Arc::new(Semaphore::new(DAEMON_WORKERS)))).collect(),
            state: Mutex::new(State::new(settings)),
            files: Mutex::default(),
        })
    }

    /// The state, for a moment: never held while something is awaited.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that answers.
    pub fn entrance(&self) -> String {
        self.state().nodes.keys().next().cloned().unwrap_or_default()
    }

    /// The workers of a node's pvedaemon.
    pub fn daemon(&self, node: &str) -> Option<Arc<Semaphore>> {
        self.daemons.get(node).map(Arc::clone)
    }

    /// Waits for a lock on a file, as `flock` does.
    ///
    /// # Errors
    ///
    /// That it took longer than these seconds.
    pub async fn flock(&self, file: &str, seconds: f64) -> Result<OwnedMutexGuard<()>, String> {
        let lock = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry(file.to_owned()).or_default())
        };
        tokio::time::timeout(self.clock.patience(seconds), lock.lock_owned())
            .await
            .map_err(|_| format!("can't lock file '{file}' - got timeout"))
    }

    /// Waits for the lock of a container's configuration.
    ///
    /// # Errors
    ///
    /// That it took longer than these seconds.
    pub async fn lock_config(&self, vmid: u32, seconds: f64) -> Result<OwnedMutexGuard<()>, String> {
        self.flock(&format!("/run/lock/lxc/pve-config-{vmid}.lock"), seconds).await
    }

    /// Waits for the lock of a storage.
    ///
    /// # Errors
    ///
    /// That it took longer than a storage waits.
    pub async fn lock_storage(&self, storage: &str) -> Result<OwnedMutexGuard<()>, String> {
        let shared = self.state().storages.get(storage).is_some_and(|storage| storage.shared);
        if shared {
            let file = format!("/etc/pve/priv/lock/storage-{storage}");
            let lock = self.flock(&file, 60.0).await;
            return lock.map_err(|_| format!("cfs-lock 'storage-{storage}' error: got lock request timeout"));
        }
        self.flock(&format!("/var/lock/pve-manager/pve-storage-{storage}"), 10.0).await
    }

    /// The init of a container, if it runs.
    pub async fn init(&self, vmid: u32) -> Option<Init> {
        self.containers.init(vmid).await.unwrap_or_default()
    }

    /// Whether a container runs.
    pub async fn runs(&self, vmid: u32) -> bool {
        self.init(vmid).await.is_some()
    }

    /// Lets `/cluster/resources` see the containers as they are.
    pub async fn tick(&self) {
        let guests: Vec<_> = {
            let state = self.state();
            let guests = state.guests.iter().filter(|(_, guest)| !state.offline.contains(&guest.node));
            guests
                .map(|(vmid, guest)| (*vmid, guest.config.hostname(*vmid), guest.config.flag("template")))
                .collect()
        };
        let mut seen = BTreeMap::new();
        for (vmid, name, template) in guests {
            seen.insert(vmid, Seen { name, running: self.runs(vmid).await, template });
        }
        self.state().seen = seen;
    }

    /// Ticks until it is dropped.
    pub async fn keep_ticking(self: Arc<Self>) {
        loop {
            // A time scale of nothing does not spin.
            tokio::time::sleep(self.clock.work(TICK).max(Duration::from_millis(10))).await;
            self.tick().await;
        }
    }

    /// The text of a container's configuration file.
    pub async fn config_text(&self, node: &str, vmid: u32) -> Option<String> {
        self.state().guest(node, vmid).ok().map(|guest| guest.config.text())
    }

    /// Puts another text in its place.
    ///
    /// # Errors
    ///
    /// Why the text is no configuration, or that the node has no such container.
    pub async fn set_config_text(&self, node: &str, vmid: u32, text: &str) -> Result<(), String> {
        let config = Config::parse(text)?;
        self.state().guest_mut(node, vmid).map_err(|failure| failure.message)?.config = config;
        Ok(())
    }

    /// `pct unlock`.
    ///
    /// # Errors
    ///
    /// That there is no such container.
    pub async fn unlock(&self, vmid: u32) -> Result<(), String> {
        let mut state = self.state();
        let guest = state.guests.get_mut(&vmid).ok_or(format!("CT {vmid} does not exist"))?;
        guest.config.unlock();
        Ok(())
    }

    /// The names of a node's bridges.
    pub fn bridges(&self, node: &str) -> BTreeSet<String> {
        self.state().nodes.get(node).map(|node| node.bridges.clone()).unwrap_or_default()
    }
}

#[async_trait]
impl Configurations for Cluster {
    async fn vmids(&self, node: &str) -> Vec<u32> {
        let state = self.state();
        let guests = state.guests.iter().filter(|(_, guest)| guest.node == node && !guest.qemu);
        guests.map(|(vmid, _)| *vmid).collect()
    }

    async fn config_text(&self, node: &str, vmid: u32) -> Option<String> {
        Cluster::config_text(self, node, vmid).await
    }

    async fn set_config_text(&self, node: &str, vmid: u32, text: &str) -> Result<(), String> {
        Cluster::set_config_text(self, node, vmid, text).await
    }

    async fn unlock(&self, vmid: u32) -> Result<(), String> {
        Cluster::unlock(self, vmid).await
    }
}
