//! The Workspace: what a user asks for.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DnsMode, EnvFromSource, EnvVar, ProxmoxSelector, Resources, SecretKeyRef, StaticAddress, WorkspaceStatus,
};

/// A development workspace: one container on a Docker or Proxmox VE host, with a repository
/// checked out in it and volumes that outlive the container. Describe it here; the operator makes
/// it so and says in the status how far it has come.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Workspace",
    plural = "workspaces",
    shortname = "ws",
    category = "berth",
    namespaced,
    status = "WorkspaceStatus",
    doc = "A development workspace: one container on a Docker or Proxmox VE host, with a repository checked out in it and volumes that outlive the container.",
    derive = "PartialEq",
    selectable = ".spec.operatingMode",
    selectable = ".status.phase",
    selectable = ".status.resolved.backend",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message("the name of a Workspace must be a DNS label: at most 63 lowercase letters, digits and '-', beginning and ending with a letter or digit"),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.step", name = "Step", type_ = "string"),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].status", name = "Ready", type_ = "string"),
    printcolumn(json_path = ".status.resolved.backend", name = "Backend", type_ = "string"),
    printcolumn(json_path = ".status.template.name", name = "Template", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".status.resolved.host", name = "Node", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.container.ip", name = "IP", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.git.branch", name = "Branch", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.lastActivityAt", name = "Idle", type_ = "date", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].reason", name = "Reason", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].message", name = "Message", type_ = "string", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSpec {
    /// The Template that says what container the workspace is made from. Absent: the default
    /// Template of the namespace (the one marked `default: true`, else the oldest), else the one
    /// that the operator's configuration names. A Template that is named but does not exist stops
    /// the workspace until it does; nothing is substituted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
    /// `Running` (the default) or `Suspended`: the container is stopped, and it and its volumes
    /// are kept. Going back to `Running` starts the same container with the same files.
    #[serde(default)]
    pub operating_mode: OperatingMode,
    /// Any text of at most 128 characters. When it changes the container is stopped and started
    /// again: the same container, with the same files and the same address. What it is when the
    /// workspace is made starts nothing twice, and neither does taking it away. In a workspace
    /// that is suspended it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub restart_nonce: Option<String>,
    /// Which backend runs the workspace, and where on it. Absent: the Template's, else the
    /// operator's `defaultBackend`. Decided once, then shown in `status.resolved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendSelector>,
    /// The git repository to check out into `/workspace`. Absent: the workspace starts with an
    /// empty folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Who the workspace's git commits are by. Absent: whatever the image is set up with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
    /// Environment variables of every login shell in the workspace; they win over those of the
    /// Template and over `envFrom`. At most 64. They are applied when the container starts and
    /// when this object changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps of which every key becomes an environment variable. Later entries
    /// win over earlier ones. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFromSource>,
    /// Limits for CPU, memory and processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Network settings of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// What happens when this object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

impl Workspace {
    /// Whether it is meant to be stopped: by its spec, or by a command that was written down.
    pub fn is_to_be_suspended(&self) -> bool {
        let power = self.status.as_ref().and_then(|status| status.power.as_ref());
        self.spec.operating_mode == OperatingMode::Suspended
            || power.is_some_and(|power| power.state == "Suspended")
    }
}

/// Whether a Workspace is meant to run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OperatingMode {
    /// The container runs.
    #[default]
    Running,
    /// The container is stopped; container and volumes are kept.
    Suspended,
}

/// A Template by name.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Name of the Template.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the Template. Absent: the Workspace's own. Another one must be listed in
    /// `templates.sharedNamespaces` of the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

/// A backend of the operator's configuration, and where on it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.docker) && has(self.proxmox))").message("at most one of docker and proxmox may be set"),
)]
pub struct BackendSelector {
    /// Name of a backend in the operator's configuration. Connections and credentials stand
    /// there, never in this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Settings for Docker backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerSelector>,
    /// Settings for Proxmox VE backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<ProxmoxSelector>,
}

/// Where on a Docker backend the workspace runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerSelector {
    /// Name of one host of the backend, to pin the workspace to it. Absent: the host with the
    /// most free memory. The operator's configuration decides whether tenants may set this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub host: Option<String>,
}

/// A git repository, and how to get at it. It is cloned once, into an empty `/workspace`, by the
/// workspace's user; what is in the folder afterwards belongs to that user and is never replaced.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tokenSecretRef) || self.url.matches('^https?://')")
        .message("tokenSecretRef needs an https:// or http:// URL; use sshKeySecretRef with SSH"),
    validation = Rule::new("!has(self.sshKeySecretRef) || !self.url.matches('^https?://')")
        .message("sshKeySecretRef needs an SSH URL (ssh://HOST/PATH or USER@HOST:PATH); use tokenSecretRef with https://"),
    validation = Rule::new("!has(self.knownHosts) || !self.url.matches('^https?://')")
        .message("knownHosts needs an SSH URL"),
)]
pub struct Repository {
    /// Address of the repository: `https://HOST/PATH`, `http://HOST/PATH`, `ssh://USER@HOST/PATH`
    /// or `USER@HOST:PATH`. A user name may stand in it, a password may not: put it into a Secret
    /// and name that in `tokenSecretRef`. At most 1024 characters.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^(https?|ssh)://[^/\\s]+/[^\\s]+$') || self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:\\s-][^\\s]*$')")
            .message("must be https://HOST/PATH, http://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH, without spaces"),
        validation = Rule::new(r"!self.matches('^[a-z]+://[^/@]*:[^/@]*@')")
            .message("must not contain a password; put it into a Secret and name that in tokenSecretRef"),
        validation = Rule::new(r"!self.matches('^[a-z]+://([^/@]*@)?-')")
            .message("the host must not begin with '-'"),
    )]
    pub url: String,
    /// Branch to check out. A branch that the repository does not have yet is created locally, on
    /// top of its default branch. Absent: the repository's default branch. The rules of
    /// `git check-ref-format` hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(
        validation = Rule::new(r"!self.startsWith('-') && !self.startsWith('/') && !self.startsWith('.') && !self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock') && !self.contains('..') && !self.contains('//') && !self.contains('/.') && !self.contains('.lock/') && !self.contains('@{') && self != '@' && !self.matches('[\\x00-\\x20\\x7f~^:?*\\[\\\\]')")
            .message("not a valid branch name: no spaces, control characters or ~^:?*[\\, no '..', '//', '@{', no part beginning with '.' or ending with '.lock', no '-' at the beginning, no '/' or '.' at the end"),
    )]
    pub branch: Option<String>,
    /// Fetch only this many commits of history, 1 to 1000000. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub depth: Option<u32>,
    /// `true`: check out submodules as well, recursively and with the same credentials.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub submodules: bool,
    /// A private SSH key that may read the repository, without a passphrase; key
    /// `ssh-privatekey` unless `key` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key_secret_ref: Option<SecretKeyRef>,
    /// An access token or password for an HTTPS repository; key `token` unless `key` says
    /// otherwise. The user name that goes with it is the one in the URL, else `git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// Host keys of the SSH server, in the format of OpenSSH's `known_hosts`; a server with
    /// another key is refused. Absent: the operator's configured ones, else the key that the
    /// server shows first is trusted and remembered in the workspace. At most 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub known_hosts: Option<String>,
}

/// Identity for git commits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Git {
    /// `user.name` of git, at most 128 characters on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\r\n\x00<>]+$"))]
    pub user_name: Option<String>,
    /// `user.email` of git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254), regex(pattern = r"^[^\s@<>]+@[^\s@<>]+$"))]
    pub user_email: Option<String>,
}

/// Network settings of the container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Name of the bridge on the Proxmox VE node, such as `vmbr0`. Absent: the operator's
    /// configured one. For Proxmox VE backends only, and only where the operator's configuration
    /// opens `network.bridge` to tenants. Takes effect when the container is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[a-zA-Z][a-zA-Z0-9_.-]*$"))]
    pub bridge: Option<String>,
    /// VLAN tag of the container's network interface, 1 to 4094. Absent: the operator's configured
    /// one, else none. For Proxmox VE backends only, and only where the operator's configuration
    /// opens `network.vlan` to tenants. Takes effect when the container is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// A fixed address. Absent: DHCP. For Proxmox VE backends only, and only where the operator's
    /// configuration opens `network.static` to tenants. Takes effect when the container is created.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub static_address: Option<StaticAddress>,
    /// Name resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// Name resolution inside the container.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// Where name resolution comes from, on Proxmox VE backends: `Static` (the servers below; the
    /// host does not change them), `Host` (whatever the node sets up) or `Tailscale` (left to
    /// Tailscale in the workspace). Absent: as the operator's configuration says, `Static` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DnsMode>,
    /// IP addresses of the DNS servers, at most three. Absent or empty: those of the operator's
    /// configuration, else those of the host. Takes effect when the container is created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), inner(length(max = 45)))]
    #[x_kube(
        validation = Rule::new("self.all(server, isIP(server))").message("every DNS server must be an IP address"),
    )]
    pub servers: Vec<String>,
}

/// What happens when the Workspace is deleted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// `true`: keep the volumes on the host when the Workspace is deleted. They stay until
    /// somebody removes them by hand. Otherwise they are removed with it.
    #[serde(default)]
    pub retain_volumes: bool,
}
