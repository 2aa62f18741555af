//! What exists on the hosts in memory, and the rules that real hosts have.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use secrecy::ExposeSecret;
use tokio::sync::broadcast;

use crate::backend::{
    BackendError, Body, BodyId, BodyRef, Change, Container, ContainerName, ContainerRef, Found, Incarnation,
    InstanceId, ItemKind, JobRequest, OwnedItem, Owner, Reason, RunState, identity,
};

/// Networks that fit on a host.
const NETWORKS: usize = 4096;
/// Changes that a slow listener may lag behind.
const CHANGES: usize = 1024;

/// What exists on all hosts.
pub struct MemoryWorld {
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, Host>,
    boots: u64,
    created: u64,
    duplicates: Vec<String>,
}

#[derive(Default)]
struct Host {
    down: bool,
    bodies: HashMap<BodyId, Belongings>,
}

/// Everything of one body.
struct Belongings {
    instance: InstanceId,
    owner: Owner,
    containers: BTreeMap<u32, Made>,
    network: bool,
    volumes: bool,
    /// Its number, where it was made from an OS template.
    number: Option<u32>,
}

struct Made {
    state: RunState,
    /// Whether it became a template, and can not be started any more.
    template: bool,
    boot: Option<u64>,
    /// When each was started, and whether it installs a package that does not exist.
    jobs: HashMap<String, (Instant, bool)>,
}

impl MemoryWorld {
    /// An empty world of these hosts.
    pub fn new(hosts: &[String]) -> Arc<Self> {
        let hosts = hosts.iter().map(|name| (name.clone(), Host::default())).collect();
        Arc::new(Self {
            state: Mutex::new(State { hosts, ..State::default() }),
            changes: broadcast::Sender::new(CHANGES),
        })
    }

    /// Takes a host down or brings it back.
    pub fn set_host_down(&self, name: &str, down: bool) {
        if let Some(host) = self.lock().hosts.get_mut(name) {
            host.down = down;
        }
        let _ = self.changes.send(Change::Host(name.to_owned()));
    }

    /// Everything there is, as `host kind name`, sorted.
    pub fn items(&self) -> BTreeSet<String> {
        let state = self.lock();
        let mut items = BTreeSet::new();
        for (host, id, body) in state
            .hosts
            .iter()
            .flat_map(|(name, host)| host.bodies.iter().map(move |(id, body)| (name, id, body)))
        {
            for item in body.items(*id) {
                items.insert(format!("{host} {} {}", item.kind, item.name));
            }
        }
        items
    }

    /// Owners that ever had two containers at once, or two bodies with containers.
    pub fn duplicates(&self) -> Vec<String> {
        self.lock().duplicates.clone()
    }

    /// How many containers were ever made.
    pub fn containers_ever_made(&self) -> u64 {
        self.lock().created
    }

    /// Removes a container behind the operator's back, as somebody with a shell on the host might.
    pub fn lose_container(&self, id: BodyId) {
        for host in self.lock().hosts.values_mut() {
            if let Some(body) = host.bodies.get_mut(&id) {
                body.containers.clear();
            }
        }
        let _ = self.changes.send(Change::Body(id));
    }

    /// Ends a container's process behind the operator's back, as one that crashes does.
    pub fn end_containers(&self, id: BodyId) {
        self.meddle(id, |made, _| {
            *made = Made { state: RunState::Exited, boot: made.boot, ..Made::default() };
        });
    }

    /// Restarts a container behind the operator's back.
    pub fn restart_containers(&self, id: BodyId) {
        self.meddle(id, |made, boot| {
            *made = Made { state: RunState::Running, boot: Some(boot), ..Made::default() };
        });
    }

    /// Puts something of another instance where this body is to be made.
    pub fn occupy(&self, host: &str, id: BodyId, instance: InstanceId, owner: Owner) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            let containers = BTreeMap::new();
            host.bodies.insert(
                id,
                Belongings { instance, owner, containers, network: false, volumes: true, number: None },
            );
        }
    }

    /// Removes everything of a body behind the operator's back.
    pub fn lose_body(&self, id: BodyId) {
        for host in self.lock().hosts.values_mut() {
            host.bodies.remove(&id);
        }
        let _ = self.changes.send(Change::Body(id));
    }

    /// The newest container of a body, as a backend shows it.
    pub fn newest_container(&self, id: BodyId) -> Option<Container> {
        let state = self.lock();
        let body = state.hosts.values().find_map(|host| host.bodies.get(&id))?;
        let (incarnation, made) = body.containers.last_key_value()?;
        Some(made.show(id, &body.owner, Incarnation(*incarnation)))
    }

    fn meddle(&self, id: BodyId, change: impl Fn(&mut Made, u64)) {
        let mut state = self.lock();
        state.boots += 1;
        let boot = state.boots;
        let bodies = state.hosts.values_mut().filter_map(|host| host.bodies.get_mut(&id));
        bodies.flat_map(|body| body.containers.values_mut()).for_each(|made| change(made, boot));
        drop(state);
        let _ = self.changes.send(Change::Body(id));
    }

    pub(super) fn hosts(&self) -> Vec<(String, bool)> {
        self.lock().hosts.iter().map(|(name, host)| (name.clone(), host.down)).collect()
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn check_host(&self, name: &str) -> Result<(), BackendError> {
        match self.lock().hosts.get(name) {
            Some(host) if !host.down => Ok(()),
            Some(_) => Err(BackendError::new(Reason::Unreachable, format!("host {name}: the host is down"))),
            None => Err(BackendError::new(Reason::Unreachable, format!("there is no host {name:?}"))),
        }
    }

    pub(super) fn inspect(&self, instance: &InstanceId, body: &BodyRef) -> Result<Body, BackendError> {
        let state = self.lock();
        let Some(belongings) = state.belongings(instance, body)? else { return Ok(Body::default()) };
        let containers = belongings
            .containers
            .iter()
            .map(|(incarnation, made)| made.show(body.id, &belongings.owner, Incarnation(*incarnation)))
            .collect();
        let volumes = if belongings.volumes { identity::volume_names(body.id).to_vec() } else { Vec::new() };
        Ok(Body { containers, network: belongings.network, volumes, unfinished: false })
    }

    pub(super) fn find(&self, instance: &InstanceId, host: &str, owner: &Owner) -> Vec<Found> {
        let state = self.lock();
        let bodies = state.hosts.get(host).map(|host| &host.bodies);
        bodies
            .into_iter()
            .flatten()
            .filter(|(_, body)| body.instance == *instance && body.owner == *owner)
            .map(|(id, body)| Found {
                body: BodyRef {
                    host: host.to_owned(),
                    id: *id,
                    owner: owner.clone(),
                    known: crate::backend::Known { number: body.number, host_key: None },
                },
                incarnation: Incarnation(body.containers.keys().max().copied().unwrap_or(0)),
            })
            .collect()
    }

    pub(super) fn list(&self, instance: &InstanceId, host: &str) -> Vec<OwnedItem> {
        let state = self.lock();
        let bodies = state.hosts.get(host).map(|host| &host.bodies);
        bodies
            .into_iter()
            .flatten()
            .filter(|(_, body)| body.instance == *instance)
            .flat_map(|(id, body)| body.items(*id))
            .collect()
    }

    pub(super) fn create(
        &self,
        instance: &InstanceId,
        body: &BodyRef,
        incarnation: Incarnation,
    ) -> Result<(), BackendError> {
        let mut state = self.lock();
        state.belongings(instance, body)?;
        let Some(host) = state.hosts.get_mut(&body.host) else { return Ok(()) };
        if host.bodies.len() >= NETWORKS && !host.bodies.contains_key(&body.id) {
            return Err(BackendError::new(
                Reason::AddressesExhausted,
                "no addresses are left for another network",
            ));
        }
        let belongings = host.bodies.entry(body.id).or_insert_with(|| Belongings {
            instance: instance.clone(),
            owner: body.owner.clone(),
            containers: BTreeMap::new(),
            network: false,
            volumes: false,
            number: body.known.number,
        });
        // What has a number keeps its files on its own disk.
        belongings.network = belongings.number.is_none();
        belongings.volumes = belongings.number.is_none();
        if belongings.containers.contains_key(&incarnation.0) {
            return Ok(());
        }
        belongings.containers.insert(incarnation.0, Made::default());
        state.created += 1;
        state.watch_for_duplicates(&body.owner);
        Ok(())
    }

    pub(super) fn start(&self, instance: &InstanceId, container: &ContainerRef) -> Result<(), BackendError> {
        let mut state = self.lock();
        state.boots += 1;
        let boot = state.boots;
        let made = state.made(instance, container)?;
        if made.template {
            return Err(BackendError::new(Reason::Failed, "a template can not be started"));
        }
        if made.state != RunState::Running {
            *made = Made { state: RunState::Running, boot: Some(boot), ..Made::default() };
        }
        drop(state);
        let _ = self.changes.send(Change::Body(container.body.id));
        Ok(())
    }

    pub(super) fn stop(&self, instance: &InstanceId, container: &ContainerRef) -> Result<(), BackendError> {
        let mut state = self.lock();
        let made = state.made(instance, container)?;
        if made.state == RunState::Running {
            made.state = RunState::Exited;
            made.jobs.clear();
        }
        drop(state);
        let _ = self.changes.send(Change::Body(container.body.id));
        Ok(())
    }

    /// The lowest number from `first` on that nothing has, and that is not taken.
    pub(super) fn free_number(&self, first: u32, taken: &BTreeSet<u32>) -> Option<u32> {
        let state = self.lock();
        let bodies = || state.hosts.values().flat_map(|host| host.bodies.values());
        (first..).find(|number| !taken.contains(number) && !bodies().any(|body| body.number == Some(*number)))
    }

    /// Makes a template of a container.
    pub(super) fn convert(
        &self,
        instance: &InstanceId,
        container: &ContainerRef,
    ) -> Result<(), BackendError> {
        let mut state = self.lock();
        let made = state.made(instance, container)?;
        if made.state == RunState::Running {
            return Err(BackendError::new(Reason::Failed, "the container is running"));
        }
        made.template = true;
        Ok(())
    }

    /// The host of a template.
    pub(super) fn template(&self, number: u32) -> Result<String, BackendError> {
        let state = self.lock();
        let is_it = |body: &Belongings| {
            body.number == Some(number) && body.containers.values().any(|made| made.template)
        };
        let found = state.hosts.iter().find(|(_, host)| host.bodies.values().any(is_it));
        let missing = || BackendError::new(Reason::TemplateMissing, format!("there is no template {number}"));
        found.map(|(name, _)| name.clone()).ok_or_else(missing)
    }

    pub(super) fn remove_container(
        &self,
        instance: &InstanceId,
        body: &BodyRef,
        incarnation: Incarnation,
    ) -> Result<(), BackendError> {
        let mut state = self.lock();
        state.belongings(instance, body)?;
        if let Some(belongings) =
            state.hosts.get_mut(&body.host).and_then(|host| host.bodies.get_mut(&body.id))
        {
            belongings.containers.remove(&incarnation.0);
        }
        Ok(())
    }

    pub(super) fn remove(
        &self,
        instance: &InstanceId,
        body: &BodyRef,
        retain_volumes: bool,
    ) -> Result<(), BackendError> {
        let mut state = self.lock();
        if state.belongings(instance, body)?.is_none() {
            return Ok(());
        }
        let Some(host) = state.hosts.get_mut(&body.host) else { return Ok(()) };
        if !retain_volumes {
            host.bodies.remove(&body.id);
        } else if let Some(belongings) = host.bodies.get_mut(&body.id) {
            belongings.containers.clear();
            belongings.network = false;
        }
        drop(state);
        let _ = self.changes.send(Change::Body(body.id));
        Ok(())
    }

    pub(super) fn check_running(
        &self,
        instance: &InstanceId,
        container: &ContainerRef,
    ) -> Result<(), BackendError> {
        match self.lock().made(instance, container)?.state {
            RunState::Running => Ok(()),
            _ => Err(BackendError::new(Reason::NotRunning, "the container is not running")),
        }
    }

    pub(super) fn start_job(&self, container: &ContainerRef, job: &JobRequest) {
        let packages = job.env.get("BERTH_TEMPLATE_PACKAGES");
        let refused = packages.is_some_and(|packages| packages.expose_secret().ends_with(" missing"));
        let mut state = self.lock();
        let body = state
            .hosts
            .get_mut(&container.body.host)
            .and_then(|host| host.bodies.get_mut(&container.body.id));
        if let Some(made) = body.and_then(|body| body.containers.get_mut(&container.incarnation.0)) {
            made.jobs.entry(job.name.clone()).or_insert_with(|| (Instant::now(), refused));
        }
    }

    pub(super) fn job_started(&self, container: &ContainerRef, name: &str) -> Option<(Instant, bool)> {
        let state = self.lock();
        let body = state.hosts.get(&container.body.host)?.bodies.get(&container.body.id)?;
        body.containers.get(&container.incarnation.0)?.jobs.get(name).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a body has, when the mark on it is the one that is expected.
    fn belongings(&self, instance: &InstanceId, body: &BodyRef) -> Result<Option<&Belongings>, BackendError> {
        let Some(found) = self.hosts.get(&body.host).and_then(|host| host.bodies.get(&body.id)) else {
            return Ok(None);
        };
        if found.instance != *instance {
            return Err(BackendError::new(
                Reason::Conflict,
                format!("{} belongs to another instance", body.id),
            ));
        }
        if ContainerName::owner_part(&found.owner) != ContainerName::owner_part(&body.owner) {
            return Err(BackendError::new(
                Reason::NotOwned,
                format!("{} belongs to {}, not to {}", body.id, found.owner, body.owner),
            ));
        }
        Ok(Some(found))
    }

    fn made(&mut self, instance: &InstanceId, container: &ContainerRef) -> Result<&mut Made, BackendError> {
        let body = &container.body;
        self.belongings(instance, body)?;
        self.hosts
            .get_mut(&body.host)
            .and_then(|host| host.bodies.get_mut(&body.id))
            .and_then(|found| found.containers.get_mut(&container.incarnation.0))
            .ok_or_else(|| BackendError::new(Reason::NotFound, "there is no such container"))
    }

    fn watch_for_duplicates(&mut self, owner: &Owner) {
        let containers: usize = self
            .hosts
            .values()
            .flat_map(|host| host.bodies.values())
            .filter(|body| body.owner == *owner)
            .map(|body| body.containers.len())
            .sum();
        if containers > 1 {
            self.duplicates.push(owner.to_string());
        }
    }
}

impl Default for Made {
    fn default() -> Self {
        Self { state: RunState::Created, template: false, boot: None, jobs: HashMap::new() }
    }
}

impl Belongings {
    fn items(&self, id: BodyId) -> Vec<OwnedItem> {
        let item = |kind, name| OwnedItem::named(kind, name, id);
        let mut items: Vec<OwnedItem> = self
            .containers
            .keys()
            .map(|incarnation| {
                let name = ContainerName::new(&self.owner, id, Incarnation(*incarnation));
                item(ItemKind::Container, name.to_string())
            })
            .collect();
        if self.network {
            items.push(item(ItemKind::Network, identity::network_name(id)));
        }
        if self.volumes {
            items.extend(identity::volume_names(id).map(|name| item(ItemKind::Volume, name)));
        }
        items
    }
}

impl Made {
    fn show(&self, id: BodyId, owner: &Owner, incarnation: Incarnation) -> Container {
        let running = self.state == RunState::Running;
        Container {
            id: format!("{id}-{incarnation}"),
            name: ContainerName::new(owner, id, incarnation).to_string(),
            incarnation,
            state: self.state,
            exit_code: (self.state == RunState::Exited).then_some(0),
            out_of_memory: false,
            ip: running.then_some(IpAddr::V4(Ipv4Addr::new(10, 210, 0, 2))),
            started_at: self.boot.map(|boot| format!("boot-{boot}")),
            running_for: None,
            has_tun: false,
            disk_bytes: None,
        }
    }
}
