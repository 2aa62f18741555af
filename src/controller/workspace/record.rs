//! What the operator wrote down about a Workspace earlier: the status, parsed.
//!
//! A status that can not be parsed counts as lost, and is rebuilt from the marks on the backend.

use jiff::Timestamp;

use crate::{
    api::{Configured, ErrorStatus, GitStatus, Operation, TemplateSnapshot, WorkspaceStatus},
    backend::{BodyId, Incarnation, RunState},
    config::{Bytes, CpuMillis},
    provision::ResolvConf,
};

use super::{
    phase::{Phase, Step},
    power::Power,
};

/// The parsed status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The body on the backend, once it has an id and a place.
    pub body: Option<RecordedBody>,
    /// The SSH host key of the present container, once it was seen.
    pub host_key: Option<String>,
    /// Which boot of the container was set up, and for which generation.
    pub configured: Option<Configured>,
    /// What became of its `resolv.conf` when this pass set it up; the conditions remember it.
    pub resolv_conf: Option<ResolvConf>,
    /// The clone job, once it was started.
    pub clone_job: Option<Operation>,
    /// The checked-out repository.
    pub git: Option<GitStatus>,
    /// Whether a container of the present incarnation has been seen.
    pub container_seen: bool,
    /// `startedAt` of the boot that was last seen running.
    pub seen_boot: Option<String>,
    /// The command that holds.
    pub power: Option<Power>,
    /// The value of `spec.restartNonce` that was last acted on.
    pub restart_nonce: Option<String>,
    /// When provisioning is given up.
    pub provision_deadline: Option<Timestamp>,
    /// The phase that was last written.
    pub phase: Option<Phase>,
    /// The step that was last written.
    pub step: Option<Step>,
    /// The failure that was last written, else what the step was at.
    pub last_message: Option<String>,
    /// The permanent failure that stands, with what it was about.
    pub standing: Option<StandingError>,
}

/// A body's id and place.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedBody {
    /// Its id.
    pub id: BodyId,
    /// Its present container.
    pub incarnation: Incarnation,
    /// The backend's name.
    pub backend: String,
    /// The host's name.
    pub host: String,
    /// The number that was reserved for its containers, where the backend numbers them.
    pub number: Option<u32>,
    /// What it was resolved to.
    pub resolved: ResolvedSpec,
    /// The Template it was made from.
    pub template: Option<TemplateSnapshot>,
}

/// What template, configuration and spec came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedSpec {
    /// Image of the container.
    pub image: String,
    /// The user that works in it.
    pub user: String,
    /// CPU limit.
    pub cpu: CpuMillis,
    /// Memory limit.
    pub memory: Bytes,
    /// Limit on processes.
    pub pids: i64,
    /// Size of the disk, where the backend knows one.
    pub disk: Option<Bytes>,
}

/// A permanent failure, and the spec and nonce it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingError {
    /// Generation of the spec that failed.
    pub generation: Option<i64>,
    /// The retry annotation at that time.
    pub retry_nonce: Option<String>,
}

impl Record {
    /// Whether the body has a place but never had a container: what it is to be made from may
    /// still change.
    pub fn is_unmade(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.incarnation == Incarnation::FIRST && !self.container_seen)
    }

    /// Reads a status.
    pub fn parse(status: Option<&WorkspaceStatus>) -> Self {
        let Some(status) = status else { return Self::default() };
        let body = parse_body(status);
        let container = status.container.as_ref();
        Self {
            configured: status.configured.clone().filter(|_| body.is_some()),
            resolv_conf: None,
            clone_job: status.operation.clone().filter(|operation| operation.kind == super::OPERATION_CLONE),
            git: status.git.clone().filter(|_| body.is_some()),
            host_key: container.and_then(|container| container.ssh_host_key.clone()),
            container_seen: body.is_some() && container.is_some_and(|container| container.id.is_some()),
            seen_boot: container
                .filter(|container| container.state == RunState::Running.as_str())
                .and_then(|container| container.started_at.clone()),
            power: status.power.as_ref().and_then(Power::parse),
            restart_nonce: status.observed_restart_nonce.clone(),
            provision_deadline: status.provision_deadline.as_ref().map(|time| time.0),
            phase: status.phase.as_deref().and_then(Phase::parse),
            step: status.step.as_deref().and_then(Step::parse),
            last_message: status
                .error
                .as_ref()
                .map(|error| error.message.clone())
                .or_else(|| status.step_message.clone()),
            standing: status.error.as_ref().filter(|error| stands(error)).map(|_| StandingError {
                generation: status.observed_generation,
                retry_nonce: status.observed_retry_nonce.clone(),
            }),
            body,
        }
    }
}

/// What was wrong with spec or configuration is found out anew on every pass, at no cost; what
/// failed on the backend is not tried again until something changes.
fn stands(error: &ErrorStatus) -> bool {
    !error.retryable && error.step != Step::Initializing.as_str()
}

fn parse_body(status: &WorkspaceStatus) -> Option<RecordedBody> {
    let resolved = status.resolved.as_ref()?;
    Some(RecordedBody {
        id: status.id.as_ref()?.parse().ok()?,
        incarnation: Incarnation(status.incarnation?),
        backend: resolved.backend.clone(),
        host: resolved.host.clone()?,
        number: resolved.vmid,
        resolved: ResolvedSpec {
            image: resolved.image.clone(),
            user: resolved.user.clone(),
            cpu: resolved.cpu.parse().ok()?,
            memory: resolved.memory.parse().ok()?,
            pids: resolved.pids,
            disk: resolved.disk.as_ref().and_then(|disk| disk.parse().ok()),
        },
        template: status.template.clone(),
    })
}
