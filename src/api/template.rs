//! The Template: what a workspace is made from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EnvFromSource, EnvVar, Operation, ProxmoxTemplate, ProxmoxTemplateStatus, Resources, SecretRef};

/// What Workspaces are made from: an image, its user, and defaults for everything that a
/// Workspace does not say itself. Image, user and limits are taken when a Workspace gets its place
/// on a backend, and later changes of the Template do not touch them; the environment is read
/// anew each time the container starts.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Template",
    plural = "templates",
    shortname = "wst",
    category = "berth",
    namespaced,
    status = "TemplateStatus",
    doc = "What Workspaces are made from: an image, its user, and defaults for everything that a Workspace does not say itself.",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message("the name of a Template must be a DNS label: at most 63 lowercase letters, digits and '-', beginning and ending with a letter or digit"),
    validation = Rule::new("has(self.spec.docker) != has(self.spec.proxmox)").message("exactly one of spec.docker and spec.proxmox must be set"),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.default", name = "Default", type_ = "boolean"),
    printcolumn(json_path = ".spec.docker.image", name = "Image", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".status.step", name = "Step", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.proxmox.vmid", name = "VMID", type_ = "integer", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].reason", name = "Reason", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].message", name = "Message", type_ = "string", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// Name of the backend for Workspaces that do not name one themselves. Absent: the
    /// operator's `defaultBackend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<TemplateBackend>,
    /// `true`: the Template of every Workspace in this namespace that names none. Where several
    /// are marked the oldest counts, and where none is marked the oldest Template does.
    #[serde(default)]
    pub default: bool,
    /// The container image, for Docker backends. Exactly one of `docker` and `proxmox` is set, and
    /// it goes with the kind of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerTemplate>,
    /// The container template, for Proxmox VE backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<ProxmoxTemplate>,
    /// Name of the user that works in the workspace; made when the image does not have it. Absent:
    /// `dev`. `root` is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z_][a-z0-9_-]*$"))]
    #[x_kube(validation = Rule::new("self != 'root'").message("the workspace's user must not be root"))]
    pub user: Option<String>,
    /// Limits for CPU, memory and processes of Workspaces that do not set their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Environment variables of every Workspace; a Workspace's own win. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps of the Template's namespace of which every key becomes an
    /// environment variable. At most 16. A Template that is used from another namespace may not
    /// refer to Secrets, here or in `env`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFromSource>,
    /// How long a Workspace may take from its first step to Ready, as a Go duration of 1m to 24h.
    /// Absent: the operator's configured time (10m unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(h|m|s))+$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')")
            .message("must be a duration such as 10m or 1h30m, from 1m to 24h"),
    )]
    pub provision_timeout: Option<String>,
}

/// A backend of the operator's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateBackend {
    /// Name of the backend in the operator's configuration.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// How the container is made on a Docker host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerTemplate {
    /// The image, as `docker run` takes it: `debian:bookworm`, `registry.example.com/dev:1.4`,
    /// with a digest for one that never changes. It needs a POSIX shell, and git where a
    /// repository is to be cloned.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$"))]
    pub image: String,
    /// When to ask the registry for the image. `IfNotPresent` (the default): when the host does
    /// not have it. `Always`: each time a container is made. `Never`: the image must be on the
    /// host already.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Secrets of type `kubernetes.io/dockerconfigjson` in the Template's namespace, with the
    /// log-in for the image's registry. At most 8. They are used on the host and never reach the
    /// workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<SecretRef>,
}

/// When to ask the registry for an image.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PullPolicy {
    /// Each time a container is made.
    Always,
    /// When the host does not have the image.
    #[default]
    IfNotPresent,
    /// Never: the image must be on the host already.
    Never,
}

/// What the operator found out about a Template.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` when Workspaces can be made from the Template, `Failed` when its spec can not be
    /// used; on the way `Pending`, `Provisioning` and `Staging`. More values may be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What is being done while the Template is `Provisioning`. More values may be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What is going on within the step, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_message: Option<String>,
    /// The container template on its Proxmox VE cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<ProxmoxTemplateStatus>,
    /// Where the container is reached while the Template is `Staging`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging_ip: Option<String>,
    /// Work that goes on outside the operator, so that a restarted operator finds it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Whether Workspaces of this namespace that name no Template use this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// The value of the annotation `berth.dev/retry-nonce` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_retry_nonce: Option<String>,
    /// `Ready`; `BackendReady` and `UpToDate` (built from the present spec) for templates on a
    /// cluster; `Reconciling` while it is being built; `Stalled` while only a change can help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// Values of a Template's phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplatePhase {
    /// It has been seen, and nothing is made yet.
    Pending,
    /// It is being built.
    Provisioning,
    /// It is built, and kept running for changes by hand.
    Staging,
    /// Workspaces can be made from it.
    Ready,
    /// Its spec can not be used.
    Failed,
}

impl TemplatePhase {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Staging => "Staging",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
        }
    }
}
