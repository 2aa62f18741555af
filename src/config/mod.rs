//! The operator's configuration file: its shape, its defaults, and the checks that need nothing
//! but the file itself.
//!
//! Unknown keys are errors. Nothing here connects to anything; whether a host answers is for
//! `berth backend check` to say. The commented sample is `config/berth.yaml`.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use serde::Deserialize;

pub mod docker;
pub mod duration;
pub mod gateway;
pub mod gateway_limits;
pub mod memory;
pub mod preview;
pub mod proxmox;
pub mod quantity;

pub use docker::{DockerBackend, DockerEndpoint, DockerHost};
pub use duration::GoDuration;
pub use gateway::GatewayConfig;
pub use gateway_limits::{GatewayLimits, RatesConfig};
pub use memory::MemoryBackend;
pub use preview::PreviewConfig;
pub use proxmox::ProxmoxBackend;
pub use quantity::{Bytes, CpuMillis};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Tells operators apart that share a host. Absent: made from the uid of the cluster's
    /// `kube-system` namespace and the operator's own namespace.
    #[serde(default)]
    pub instance: Option<String>,
    /// The operator's own namespace, for its Lease and its ledger. Absent: `POD_NAMESPACE`, else
    /// `berth-system`.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Namespaces whose objects are looked after. Empty: all of them.
    #[serde(default)]
    pub watch_namespaces: BTreeSet<String>,
    /// The backend of Workspaces and Templates that name none.
    #[serde(default)]
    pub default_backend: Option<String>,
    /// The backends. A gateway that runs by itself needs none, and has no use for their
    /// credentials.
    #[serde(default)]
    pub backends: Vec<BackendConfig>,
    /// The way into workspaces. Absent: they have no agents.
    #[serde(default)]
    pub gateway: Option<GatewayConfig>,
    /// Which Templates are used when none is named, and from where.
    #[serde(default)]
    pub templates: TemplatesConfig,
    /// Limits of Workspaces that set none, and neither does their Template.
    #[serde(default)]
    pub defaults: Defaults,
    /// What nobody may exceed.
    #[serde(default)]
    pub limits: Limits,
    /// Where the previews of DevServers are published.
    #[serde(default)]
    pub preview: PreviewConfig,
    /// Host keys of git servers, for repositories that bring none of their own.
    #[serde(default)]
    pub git: GitConfig,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What is done about things on a backend that belong to no Workspace.
    #[serde(default)]
    pub orphans: Orphans,
    /// How the operator works.
    #[serde(default)]
    pub controller: ControllerConfig,
    /// How replicas agree on the one that works.
    #[serde(default)]
    pub leader_election: LeaderElection,
    /// Where metrics and health are served. Default `0.0.0.0:8080`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// How the log is written.
    #[serde(default)]
    pub log: LogConfig,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}

/// One backend: a name, who may use it, and exactly one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendConfig {
    /// By this name Workspaces and Templates refer to it.
    pub name: String,
    /// Namespaces that may use it; `*` stands for all. Default: all.
    #[serde(default = "all_namespaces")]
    pub allowed_namespaces: BTreeSet<String>,
    /// Fields about the infrastructure that a Workspace may set itself: `docker.host`,
    /// `proxmox.node`, `proxmox.vmid`, `proxmox.storage`, `proxmox.adoptExisting`, `network.bridge`,
    /// `network.vlan`, `network.static`. Default: none.
    #[serde(default)]
    pub tenants_may_set: BTreeSet<TenantField>,
    /// Docker hosts.
    #[serde(default)]
    pub docker: Option<DockerBackend>,
    /// A Proxmox VE cluster.
    #[serde(default)]
    pub proxmox: Option<ProxmoxBackend>,
    /// Hosts inside the operator's own process, for tests and scale runs.
    #[serde(default)]
    pub memory: Option<MemoryBackend>,
}

impl BackendConfig {
    /// Whether a namespace may use this backend.
    pub fn allows(&self, namespace: &str) -> bool {
        self.allowed_namespaces.contains("*") || self.allowed_namespaces.contains(namespace)
    }

    /// Names of the hosts, where the configuration names them all.
    pub fn host_names(&self) -> Vec<&str> {
        if let Some(docker) = &self.docker {
            return docker.hosts.iter().map(|host| host.name.as_str()).collect();
        }
        if let Some(proxmox) = &self.proxmox {
            return proxmox.nodes.iter().map(String::as_str).collect();
        }
        self.memory.iter().flat_map(|memory| &memory.hosts).map(String::as_str).collect()
    }

    /// What workspaces on it trust, and through which proxy they go out.
    pub fn surroundings(&self) -> Surroundings<'_> {
        if let Some(docker) = &self.docker {
            return Surroundings {
                ca_bundle_file: docker.ca_bundle_file.as_deref(),
                proxy: Some(&docker.proxy),
            };
        }
        if let Some(proxmox) = &self.proxmox {
            return Surroundings {
                ca_bundle_file: proxmox.ca_bundle_file.as_deref(),
                proxy: Some(&proxmox.proxy),
            };
        }
        Surroundings::default()
    }
}

/// The way out of a backend's workspaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// A file of CA certificates that they trust in addition to their own.
    pub ca_bundle_file: Option<&'a Path>,
    /// Their proxy settings.
    pub proxy: Option<&'a docker::Proxy>,
}

fn all_namespaces() -> BTreeSet<String> {
    BTreeSet::from(["*".to_owned()])
}

/// A field about the infrastructure that the administrator can open to tenants.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub enum TenantField {
    /// `spec.backend.docker.host`.
    #[serde(rename = "docker.host")]
    DockerHost,
    /// `spec.backend.proxmox.node`.
    #[serde(rename = "proxmox.node")]
    ProxmoxNode,
    /// `spec.backend.proxmox.vmid`.
    #[serde(rename = "proxmox.vmid")]
    ProxmoxVmid,
    /// `spec.backend.proxmox.storage`.
    #[serde(rename = "proxmox.storage")]
    ProxmoxStorage,
    /// `spec.backend.proxmox.adoptExisting`.
    #[serde(rename = "proxmox.adoptExisting")]
    ProxmoxAdoptExisting,
    /// `spec.network.bridge`.
    #[serde(rename = "network.bridge")]
    NetworkBridge,
    /// `spec.network.vlan`.
    #[serde(rename = "network.vlan")]
    NetworkVlan,
    /// `spec.network.static`.
    #[serde(rename = "network.static")]
    NetworkStatic,
}

/// Which Templates are used when none is named, and from where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplatesConfig {
    /// Namespaces whose Templates Workspaces of other namespaces may name.
    #[serde(default)]
    pub shared_namespaces: BTreeSet<String>,
    /// The Template of Workspaces that name none, in namespaces that have none.
    #[serde(default)]
    pub default: Option<DefaultTemplate>,
}

/// A Template by namespace and name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefaultTemplate {
    /// Its namespace; counts as shared.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Limits of Workspaces that set none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// CPU. Default 1.
    pub cpu: CpuMillis,
    /// Memory. Default 1Gi.
    pub memory: Bytes,
    /// Processes and threads. Default 4096.
    pub pids: i64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { cpu: CpuMillis(1000), memory: Bytes(1 << 30), pids: 4096 }
    }
}

/// What nobody may exceed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// CPU of one Workspace. Default 16.
    pub cpu: CpuMillis,
    /// Memory of one Workspace. Default 16Gi.
    pub memory: Bytes,
    /// Processes of one Workspace. Default 16384.
    pub pids: i64,
    /// Workspaces of one namespace. Default 0: no limit.
    pub workspaces_per_namespace: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu: CpuMillis(16_000), memory: Bytes(16 << 30), pids: 16384, workspaces_per_namespace: 0 }
    }
}

/// Settings for git in workspaces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitConfig {
    /// Host keys of SSH servers, in the format of OpenSSH's `known_hosts`.
    #[serde(default)]
    pub known_hosts: Option<String>,
}

/// How long things may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the first step to Ready. Default 10m.
    pub provision: GoDuration,
    /// From the start of a container to its address. Default 30s.
    pub ip: GoDuration,
    /// Between asking a container's processes to end and killing them. Default 10s.
    pub stop: GoDuration,
    /// How long a deletion waits for a backend that does not answer, before the rest is written
    /// into the ledger and the object goes. Default 10m.
    pub deletion: GoDuration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            provision: GoDuration(Duration::from_secs(600)),
            ip: GoDuration(Duration::from_secs(30)),
            stop: GoDuration(Duration::from_secs(10)),
            deletion: GoDuration(Duration::from_secs(600)),
        }
    }
}

/// What is done about things on a backend that belong to no Workspace.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Orphans {
    /// `Report` (default): a log line and a metric. `Delete`: containers and networks are removed
    /// after the grace time; volumes never are.
    pub policy: OrphanPolicy,
    /// How long something must have been an orphan before it is removed. Default 10m.
    pub grace: GoDuration,
    /// Time between two looks. Default 5m.
    pub interval: GoDuration,
}

impl Default for Orphans {
    fn default() -> Self {
        Self {
            policy: OrphanPolicy::Report,
            grace: GoDuration(Duration::from_secs(600)),
            interval: GoDuration(Duration::from_secs(300)),
        }
    }
}

/// What is done about an orphan.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum OrphanPolicy {
    /// A log line and a metric.
    Report,
    /// Containers and networks are removed, volumes are not.
    Delete,
}

/// How the operator works.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControllerConfig {
    /// Workspaces worked on at once, 1 to 256. Default 16.
    pub concurrency: u16,
    /// Time between two looks at a Workspace that nothing happened to, with a tenth of jitter.
    /// Default 5m.
    pub resync: GoDuration,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self { concurrency: 16, resync: GoDuration(Duration::from_secs(300)) }
    }
}

/// How replicas agree on the one that works.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElection {
    /// Name of the Lease, in the operator's namespace. Default `berth`.
    pub lease_name: String,
    /// How long the lease holds without being renewed. Default 15s.
    pub duration: GoDuration,
    /// Time between renewals. Default 5s.
    pub renew_interval: GoDuration,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            lease_name: "berth".to_owned(),
            duration: GoDuration(Duration::from_secs(15)),
            renew_interval: GoDuration(Duration::from_secs(5)),
        }
    }
}

/// How the log is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    /// `Json` (default), one object a line, or `Text` for people.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`, which wins when set. Default `info`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".to_owned() }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why a configuration can not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("can not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not YAML of the right shape.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        source: serde_yaml::Error,
    },
    /// The file's values do not go together: one line each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = serde_yaml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        config.check()?;
        Ok(config)
    }

    /// Everything that can be said about the values without connecting to anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut complain = |field: &str, what: &str| problems.push(format!("{field}: {what}"));
        if self.backends.is_empty() && self.gateway.is_none() {
            complain("backends", "must name at least one backend");
        }
        let mut names = BTreeSet::new();
        for (index, backend) in self.backends.iter().enumerate() {
            let field = format!("backends[{index}]");
            if !is_dns_label(&backend.name) {
                complain(
                    &format!("{field}.name"),
                    "must be a DNS label: lowercase letters, digits and '-', at most 63",
                );
            }
            if !names.insert(backend.name.as_str()) {
                complain(&format!("{field}.name"), &format!("{:?} is used twice", backend.name));
            }
            match (&backend.docker, &backend.proxmox, &backend.memory) {
                (Some(docker), None, None) => docker.check(&format!("{field}.docker"), &mut complain),
                (None, Some(proxmox), None) => proxmox.check(&format!("{field}.proxmox"), &mut complain),
                (None, None, Some(memory)) => memory.check(&format!("{field}.memory"), &mut complain),
                _ => complain(&field, "must have exactly one of docker, proxmox and memory"),
            }
        }
        if let Some(default) = &self.default_backend
            && !names.contains(default.as_str())
        {
            complain("defaultBackend", &format!("{default:?} is not the name of a backend"));
        }
        if let Some(gateway) = &self.gateway {
            gateway.check(&mut complain);
        }
        if self.defaults.cpu > self.limits.cpu {
            complain("defaults.cpu", "must not exceed limits.cpu");
        }
        if self.defaults.memory > self.limits.memory {
            complain("defaults.memory", "must not exceed limits.memory");
        }
        if !(64..=self.limits.pids).contains(&self.defaults.pids) {
            complain("defaults.pids", "must be from 64 to limits.pids");
        }
        self.preview.check(&mut complain);
        if !(1..=256).contains(&self.controller.concurrency) {
            complain("controller.concurrency", "must be from 1 to 256");
        }
        if self.controller.resync.0 < Duration::from_secs(1) {
            complain("controller.resync", "must be at least 1s");
        }
        if self.leader_election.renew_interval.0 * 2 > self.leader_election.duration.0 {
            complain("leaderElection.renewInterval", "must be at most half of leaderElection.duration");
        }
        if self.leader_election.duration.0 < Duration::from_secs(2) {
            complain("leaderElection.duration", "must be at least 2s");
        }
        if let Some(instance) = &self.instance
            && (instance.is_empty()
                || instance.len() > 128
                || !instance.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)))
        {
            complain("instance", "must be 1 to 128 letters, digits, '.', '_', '-' and '/'");
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// What a file sets up, in a few words.
    pub fn summary(&self) -> String {
        let backends: Vec<_> = self.backends.iter().map(|backend| backend.name.as_str()).collect();
        let gateway = self.gateway.as_ref().map(|gateway| gateway.public_url.as_str());
        match (backends.as_slice(), gateway) {
            ([], Some(url)) => format!("a gateway at {url}, without backends: for --role gateway alone"),
            (names, None) => format!("backends {}; no gateway", names.join(", ")),
            (names, Some(url)) => format!("backends {}; a gateway at {url}", names.join(", ")),
        }
    }

    /// The operator's own namespace.
    pub fn own_namespace(&self) -> String {
        self.namespace
            .clone()
            .or_else(|| std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty()))
            .unwrap_or_else(|| "berth-system".to_owned())
    }

    /// A backend by name.
    pub fn backend(&self, name: &str) -> Option<&BackendConfig> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// The backend of Workspaces and Templates that name none: the configured one, or the only one.
    pub fn default_backend(&self) -> Option<&str> {
        match (&self.default_backend, self.backends.as_slice()) {
            (Some(name), _) => Some(name),
            (None, [only]) => Some(&only.name),
            (None, _) => None,
        }
    }

    /// Whether Workspaces of one namespace may use Templates of another.
    pub fn shares_templates(&self, namespace: &str) -> bool {
        self.templates.shared_namespaces.contains(namespace)
            || self.templates.default.as_ref().is_some_and(|default| default.namespace == namespace)
    }
}

/// Whether text is a DNS label as Kubernetes has it (RFC 1123).
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MEMORY: &str = "backends: [{name: one, memory: {hosts: [a]}}]\n";
    const GATEWAY: &str = "gateway: {publicURL: \"https://berth.example.com\"}\n";

    #[rstest]
    #[case::controller(MEMORY, "", "backends one; no gateway")]
    #[case::both(MEMORY, GATEWAY, "backends one; a gateway at https://berth.example.com/")]
    #[case::gateway(
        "",
        GATEWAY,
        "a gateway at https://berth.example.com/, without backends: for --role gateway alone"
    )]
    fn a_file_is_summed_up(#[case] backends: &str, #[case] gateway: &str, #[case] expected: &str) {
        let config: Config = serde_yaml::from_str(&format!("{backends}{gateway}")).unwrap();
        assert_eq!(config.summary(), expected);
    }
}
