//! The Workspace's status: how far the operator has come, and why not further.
//!
//! Phase and step are plain strings in the schema, so that an older client survives a newer
//! operator's values; inside the operator they are the enums of `crate::controller`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did. Written by the operator alone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the workspace is in its life: `Pending`, `Provisioning`, `Running`, `Degraded`,
    /// `Suspending`, `Suspended`, `Resuming`, `Failed` or `Terminating`. More values may be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The step that is under way or has failed: `Initializing`, `CreatingContainer`,
    /// `StartingContainer`, `ConfiguringNetwork`, `CloningRepository`, `StartingAgent`, `Connecting` or `Ready`. More values may
    /// be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Number of that step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_index: Option<i32>,
    /// How many steps there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<i32>,
    /// What is going on within the step, for people: the progress of a pull or of a clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_message: Option<String>,
    /// When the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_started_at: Option<Time>,
    /// Names the workspace on its backend, whatever containers it is made of over time: 16
    /// hexadecimal digits. Volumes and network are called by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which container of this workspace the present one is, from 1: one that was deleted and
    /// made again counts up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u32>,
    /// The Template that was used, as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSnapshot>,
    /// What template, configuration and spec together come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
    /// The container as the backend last showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerStatus>,
    /// Which boot of the container was last set up with user and environment, and for which
    /// generation of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<Configured>,
    /// The agent in the container, while it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    /// When somebody or something last worked in it: in a command or terminal, through a port or a
    /// preview, on files or with git through the agent, or with the processor. In whole minutes, and
    /// moved on by no less than five minutes. Absent: never, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Time>,
    /// Work that goes on outside the operator, so that a restarted operator finds it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The repository as it was checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStatus>,
    /// The workspace fails unless it is Ready by then. Only while it is being provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision_deadline: Option<Time>,
    /// When it was suspended. Only while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Time>,
    /// The value of the annotation `berth.dev/retry-nonce` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_retry_nonce: Option<String>,
    /// The last command beside the spec, such as `kubectl berth restart`. Absent once it no longer
    /// holds: `spec.operatingMode` was changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerStatus>,
    /// The value of `spec.restartNonce` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_restart_nonce: Option<String>,
    /// What went wrong last. Only while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorStatus>,
    /// `Ready`, `Available`, `Accepted`, `BackendReady`, `TemplateResolved`, `SecretsReady`,
    /// `ContainerReady`, `TunConfigured`, `NetworkReady`, `DNSProtected`, `EnvironmentReady`,
    /// `RepositoryReady`, `AgentConnected` and `DiskReady`, each present only where it applies;
    /// `Reconciling` and `Stalled` only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The Template a workspace was made from.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSnapshot {
    /// Name of the Template.
    pub name: String,
    /// Namespace of the Template.
    pub namespace: String,
    /// Uid of the Template.
    pub uid: String,
    /// Generation of the Template at that time.
    pub generation: i64,
}

/// What template, configuration and spec together come to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The backend, by its name in the operator's configuration.
    pub backend: String,
    /// The host of the backend that holds container and volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The image of the container; on Proxmox VE `vmid:` and the VMID of the template it is a
    /// clone of.
    pub image: String,
    /// The VMID on Proxmox VE. Reserved before the container is made, and kept by every container
    /// of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<u32>,
    /// Size of the disk on Proxmox VE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The user that works in it.
    pub user: String,
    /// CPU limit, in cores.
    pub cpu: String,
    /// Memory limit.
    pub memory: String,
    /// Limit on processes and threads.
    pub pids: i64,
}

/// The container as the backend last showed it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The backend's own identifier, shortened to 12 characters on Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The container's name on the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `None`, `Creating`, `Running`, `Paused`, `Exited`, `Dead` or `Removing`.
    pub state: String,
    /// Its address on the workspace's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// SSH host key of the container, pinned when it was first seen, in OpenSSH's format. A
    /// container that shows another one is not talked to, until `kubectl berth reset-host-key` has
    /// this one forgotten. On Proxmox VE only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_host_key: Option<String>,
    /// When it last started, as the backend says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

/// Which boot was set up, and for which spec.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configured {
    /// `startedAt` of the container when it was set up.
    pub started_at: String,
    /// Generation of the spec whose environment it got.
    pub generation: i64,
    /// What its agent was set up with: program, addresses and keys, in short. Absent where it has
    /// no agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// The agent in the container.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Version of the part that holds the link to the gateway.
    pub version: String,
    /// Version of the part that owns processes and terminals. It goes on through updates, so it
    /// may be older until the container is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor_version: Option<String>,
    /// Tells one build of the first part from another of the same version: the first 12
    /// hexadecimal digits of its program's SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// A newer build that did not come up, so that the one before it goes on. It is tried again
    /// when the container is started again, or when the operator brings another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_update: Option<FailedUpdate>,
}

/// A build of the agent that did not come up.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FailedUpdate {
    /// The build that was given up, by the beginning of its checksum.
    pub build: String,
    /// Why it was given up, with the last line of what it said.
    pub message: String,
}

/// Work that goes on outside the operator.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What it does. Of a Workspace: `Create`, a task of Proxmox VE that makes the container; `Clone`,
    /// the job in the container that clones the repository. Of a Template: `Provision` and `Clean`.
    pub kind: String,
    /// By what it is found again; of `Create` it is the UPID.
    pub handle: String,
    /// When it was started.
    pub started_at: Time,
}

/// A command that was given beside the spec. It holds until `spec.operatingMode` is changed;
/// `Suspended` there always wins.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PowerStatus {
    /// What is to be done: `Running`, `Suspended`, or `Restarting` until the container was stopped,
    /// which is `Running` from then on. More values may be added.
    pub state: String,
    /// Why: `Requested`. More values may be added.
    pub reason: String,
    /// The user who asked for it, cut to 256 bytes.
    pub by: String,
    /// When it was asked for.
    pub at: Time,
    /// Generation of the spec at that time.
    pub generation: i64,
}

/// The repository as it was checked out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitStatus {
    /// The branch that was checked out. Absent where no branch is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit, as a full hash. Absent in a repository without commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorStatus {
    /// The step it happened in.
    pub step: String,
    /// A stable word for programs, such as `ImageNotFound` or `GitAuthFailed`.
    pub reason: String,
    /// What happened, with the last line of the failing command.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it first happened.
    pub at: Time,
    /// `true`: the operator tries again by itself. `false`: it waits for a change of the spec or
    /// of the annotation `berth.dev/retry-nonce`.
    pub retryable: bool,
}
