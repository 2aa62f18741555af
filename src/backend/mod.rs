//! The hosts that run workspaces, behind one trait.
//!
//! A backend creates, inspects and removes containers, networks and volumes, and opens a
//! [`Guest`] to work inside a container. It knows nothing of Kubernetes and decides nothing about
//! workspaces: the controller plans, a backend carries out one action and reports what it sees.
//! Every method returns within a bounded time; what takes longer is a task of the caller's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use async_trait::async_trait;
use ipnet::IpNet;
use secrecy::SecretString;
use tokio::sync::watch;

pub mod agent;
pub mod docker;
pub mod error;
pub mod guest;
pub mod identity;
pub mod log;
pub mod memory;
pub mod metered;
mod output;
mod process_group;
pub mod proxmox;
pub mod shell;
pub mod source;
pub mod ssh;

pub use agent::{AgentBinary, AgentProgram};
pub use error::{BackendError, Reason};
pub use guest::{ExecOutput, ExecRequest, Guest, JobRequest, JobState};
pub use identity::{BodyId, ContainerName, Incarnation, InstanceId, Owner};
pub use log::{LogRequest, LogStream};
pub use source::Source;

/// One kind of host that runs workspaces, with all hosts of one entry in the configuration.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Every host, reachable or not, with what is known of its capacity. Never asks the network:
    /// it returns what the backend's own health check saw last.
    fn hosts(&self) -> Vec<HostState>;

    /// Everything of one workspace on one host: all its containers, its network and its volumes.
    async fn inspect(&self, body: &BodyRef) -> Result<Body, BackendError>;

    /// Looks on every reachable host for what belongs to an owner whose id was lost. Fails when a
    /// host can not be asked, since then "nothing" is not known.
    async fn find(&self, owner: &Owner) -> Result<Vec<Found>, BackendError>;

    /// Everything on one host that carries this instance's mark, for the sweep.
    async fn list(&self, host: &str) -> Result<Vec<OwnedItem>, BackendError>;

    /// Makes the image available on the host, reporting progress as it goes. May take minutes.
    async fn prepare_image(
        &self,
        host: &str,
        image: &ImageRequest,
        progress: &watch::Sender<String>,
    ) -> Result<(), BackendError>;

    /// The hosts on which a container can be made from an image; `None`: on every one.
    async fn hosts_of_image(&self, _image: &str) -> Result<Option<Vec<String>>, BackendError> {
        Ok(None)
    }

    /// Chooses the number that the container will have, on backends that number theirs. Nothing
    /// is made; the caller writes the number down before it asks for the container. `taken` are
    /// the numbers that are written down for others already.
    async fn reserve(
        &self,
        _body: &BodyRef,
        _spec: &ContainerSpec,
        _taken: &BTreeSet<u32>,
    ) -> Result<Option<u32>, BackendError> {
        Ok(None)
    }

    /// Creates network, volumes and container, those that are missing, and writes the owner's
    /// mark. Does not start the container. A container of the same name that carries this body's
    /// mark is the result of an earlier call and counts as success. May take minutes, and says
    /// meanwhile what it is at. [`Reason::NumberTaken`]: somebody else was faster; reserve again.
    async fn create(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        progress: &watch::Sender<String>,
    ) -> Result<(), BackendError>;

    /// Asks a [`Backend::create`] of this body that is under way to give up soon.
    fn give_up_creation(&self, _id: BodyId) {}

    /// Starts the container.
    async fn start(&self, container: &ContainerRef) -> Result<(), BackendError>;

    /// Stops the container, giving its processes `grace` before they are killed. May take that
    /// long. A container that is stopped already is success.
    async fn stop(&self, container: &ContainerRef, grace: std::time::Duration) -> Result<(), BackendError>;

    /// Removes one container of the body, running or not. One that is gone already is success.
    async fn remove_container(&self, container: &ContainerRef) -> Result<(), BackendError>;

    /// Removes every container and the network of the body, and its volumes unless they are
    /// retained. What is gone already is success.
    async fn remove(&self, body: &BodyRef, retain_volumes: bool) -> Result<(), BackendError>;

    /// Opens the inside of a running container.
    async fn guest(&self, container: &ContainerRef) -> Result<Box<dyn Guest>, BackendError>;

    /// Opens the log of a container, running or not: what its processes printed. It needs nothing
    /// of the inside, so it says why an agent does not come up.
    async fn logs(&self, _: &ContainerRef, _: &LogRequest) -> Result<LogStream, BackendError> {
        Err(BackendError::new(Reason::Unsupported, "this backend keeps no log of its containers"))
    }

    /// Whether this backend brings agents into its containers.
    fn brings_agents(&self) -> bool {
        false
    }

    /// Sees to it that a running container has the present version of the agent's program.
    async fn deliver_agent(&self, _container: &ContainerRef) -> Result<AgentProgram, BackendError> {
        Ok(AgentProgram::Missing)
    }

    /// Turns a stopped container into a template that others are cloned from. Its mark stays. What
    /// is one already is success.
    async fn make_template(
        &self,
        _container: &ContainerRef,
        _progress: &watch::Sender<String>,
    ) -> Result<(), BackendError> {
        Err(BackendError::new(Reason::Unsupported, "this kind of backend has no templates of its own"))
    }

    /// Looks at a template by its number. [`Reason::TemplateMissing`]: there is none.
    async fn template(&self, _number: u32) -> Result<TemplatePlace, BackendError> {
        Err(BackendError::new(Reason::Unsupported, "this kind of backend has no templates of its own"))
    }

    /// The changes that the backend sees on its hosts, as they happen. Each call gives a receiver
    /// of its own; one that lags misses the oldest.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<Change>;
}

/// Where a template is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TemplatePlace {
    /// The host.
    pub host: String,
    /// The storage of its disk.
    pub storage: Option<String>,
}

/// A backend as others hold it.
pub type SharedBackend = Arc<dyn Backend>;

/// A host of a backend, as its health check saw it last.
#[derive(Clone, Debug, PartialEq)]
pub struct HostState {
    /// Name in the configuration.
    pub name: String,
    /// What keeps the host from being used, in one line; `None` when it answers.
    pub unreachable: Option<String>,
    /// Memory of the host in bytes; 0 while it has never answered.
    pub memory_bytes: u64,
    /// How much of it is in use, by whatever; 0 where the backend does not say.
    pub memory_used_bytes: u64,
    /// Number of its processors; 0 while it has never answered.
    pub cpus: u32,
}

/// A workspace's body: what stands for it on one host.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BodyRef {
    /// Name of the host.
    pub host: String,
    /// The body's id.
    pub id: BodyId,
    /// Whose it is. Every action checks that the mark on the host says the same.
    pub owner: Owner,
    /// What is remembered of it for the backend.
    pub known: Known,
}

/// What the status remembers of a body for its backend.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Known {
    /// The number that was reserved for its containers, on Proxmox VE: the VMID.
    pub number: Option<u32>,
    /// The SSH host key of its present container, in OpenSSH's format, where it is reached by SSH.
    pub host_key: Option<String>,
}

/// One container of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerRef {
    /// The body.
    pub body: BodyRef,
    /// Which container of it.
    pub incarnation: Incarnation,
}

/// What a backend has of one workspace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Its containers, newest incarnation last.
    pub containers: Vec<Container>,
    /// Whether its network exists.
    pub network: bool,
    /// Names of its volumes.
    pub volumes: Vec<String>,
    /// Whether a container of it is there that was not made to its end. It is not among
    /// `containers`: [`Backend::create`] goes on with it, and [`Backend::remove`] removes it.
    pub unfinished: bool,
}

/// A container as the backend shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The backend's own identifier.
    pub id: String,
    /// Its name on the backend.
    pub name: String,
    /// Which container of the body it is.
    pub incarnation: Incarnation,
    /// Whether it runs.
    pub state: RunState,
    /// Exit code of its main process, when that has ended.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// Its address on the workspace's own network.
    pub ip: Option<IpAddr>,
    /// When it last started, in the backend's own writing: it tells one boot from another.
    pub started_at: Option<String>,
    /// How long it has been running, where the backend says so.
    pub running_for: Option<std::time::Duration>,
    /// Whether it has the device `/dev/net/tun`, as far as its backend can tell.
    pub has_tun: bool,
    /// Size in bytes of the file system on its own disk; only where the backend knows it, and
    /// while it runs.
    pub disk_bytes: Option<u64>,
}

/// What the backend says a container is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunState {
    /// Made, but never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Being restarted by the backend itself.
    Restarting,
    /// Being removed.
    Removing,
    /// Stopped.
    Exited,
    /// Could not be removed or stopped by the backend.
    Dead,
}

impl RunState {
    /// The word in `status.container.state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Creating",
            Self::Running | Self::Restarting => "Running",
            Self::Paused => "Paused",
            Self::Removing => "Removing",
            Self::Exited => "Exited",
            Self::Dead => "Dead",
        }
    }
}

/// What [`Backend::find`] came across.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Where, and whose.
    pub body: BodyRef,
    /// Its newest container; [`Incarnation::NONE`] when only its volumes are left.
    pub incarnation: Incarnation,
}

/// One thing on a host that carries this instance's mark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedItem {
    /// What it is.
    pub kind: ItemKind,
    /// Its name on the backend.
    pub name: String,
    /// Whose body it is part of.
    pub id: BodyId,
    /// Whose it is, where the backend shows more than a name.
    pub owner: Option<Owner>,
    /// What its backend has to be told to find it again.
    pub known: Known,
}

impl OwnedItem {
    /// Something of which only the name tells whose it is.
    pub fn named(kind: ItemKind, name: String, id: BodyId) -> Self {
        Self { kind, name, id, owner: None, known: Known::default() }
    }
}

/// The kinds of things a backend keeps for a workspace.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ItemKind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl fmt::Display for ItemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
        })
    }
}

/// Something happened to a container of this instance, or a host came or went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Something happened to this body.
    Body(BodyId),
    /// A host answers again, or no longer does; or changes on it may have been missed.
    Host(String),
}

/// The image a container is made from, and how to get it.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// As `docker pull` takes it.
    pub image: String,
    /// When to ask the registry.
    pub pull: Pull,
    /// Log-ins for registries, tried where the registry of the image matches.
    pub credentials: Vec<RegistryCredential>,
}

/// When to ask a registry for an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pull {
    /// Always.
    Always,
    /// When the host does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

/// A log-in for one registry.
#[derive(Clone, Debug)]
pub struct RegistryCredential {
    /// Host name of the registry, as in the key of a Docker configuration's `auths`.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: SecretString,
}

/// How a container is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    /// Which container of the body.
    pub incarnation: Incarnation,
    /// The image, present on the host by now.
    pub image: String,
    /// Name of the user that works in it, for the place of the cache volume.
    pub user: String,
    /// Host name inside the container: the workspace's name.
    pub hostname: String,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Limit on processes and threads.
    pub pids: i64,
    /// DNS servers; empty for the backend's configured ones, else the host's.
    pub dns_servers: Vec<IpAddr>,
    /// What only some backends know.
    pub infrastructure: Infrastructure,
}

/// Where and how a container is made on a Proxmox VE cluster. What is absent is the backend's
/// configured value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Infrastructure {
    /// The number that the container must have.
    pub number: Option<u32>,
    /// Whether a container that stands there already is to be taken over.
    pub adopt_existing: bool,
    /// Storage of its disk.
    pub storage: Option<String>,
    /// Size of its disk in bytes.
    pub disk_bytes: Option<u64>,
    /// Bridge of its network interface.
    pub bridge: Option<String>,
    /// VLAN tag of its network interface.
    pub vlan: Option<u16>,
    /// Its fixed address; absent: DHCP.
    pub address: Option<FixedAddress>,
    /// Where its name resolution comes from.
    pub dns_mode: Option<DnsMode>,
    /// Whether it may hold containers of its own; for one that is made from an OS template.
    pub nesting: bool,
    /// Whether it needs the device `/dev/net/tun`.
    pub tun: bool,
    /// Words to find it by in the backend's own surface.
    pub tags: Vec<String>,
}

/// A fixed address with its gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FixedAddress {
    /// The address, with the length of its network.
    pub address: IpNet,
    /// The gateway.
    pub gateway: IpAddr,
}

/// Where a container's name resolution comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DnsMode {
    /// From the host, as the backend sets it up.
    Host,
    /// From given servers; the host does not change it.
    Static,
    /// From Tailscale in the workspace; the host does not change it.
    Tailscale,
}

/// The configured backends by name.
pub type Backends = BTreeMap<String, SharedBackend>;
