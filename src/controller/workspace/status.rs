//! What to say about a Workspace, from the same facts as the plan. Pure.

use berth_link::wire::AgentInfo;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{
        AgentStatus, ContainerStatus, ErrorStatus, FailedUpdate, Resolved, WorkspaceStatus,
        condition::{self, ConditionList, MESSAGE_LIMIT, truncate},
    },
    backend::{Container, RunState},
    provision::redact::presentable,
};

use super::{
    activity::last_activity,
    container_conditions,
    phase::{Phase, Step},
    plan::{Observed, Settled},
    power::Power,
    problem::Problem,
    record::Record,
    validate::{Desired, Subject},
};

/// Everything a status is made of.
pub struct Situation<'a> {
    /// Who it is about.
    pub subject: &'a Subject,
    /// What is wanted; absent while the spec can not be used.
    pub desired: Option<&'a Desired>,
    /// What is written down.
    pub record: &'a Record,
    /// What was found on the backend.
    pub observed: &'a Observed,
    /// Its agent.
    pub agent: AgentSight,
    /// When there was last work in it, as far as this leader was told.
    pub worked_at: Option<Timestamp>,
    /// How far it has come.
    pub progress: &'a Progress,
    /// The time.
    pub now: Timestamp,
}

/// The agent of a workspace, for its status.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentSight {
    /// It is to have none.
    NotUsed,
    /// It has a link.
    Linked(AgentInfo),
    /// It has none.
    Missing,
}

/// How far a Workspace has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Something is being done about this step.
    Doing {
        /// The step.
        step: Step,
        /// More about it.
        message: Option<String>,
    },
    /// A failed step is being tried again: what was said of the failure stands until it is over.
    Retrying {
        /// The step.
        step: Step,
    },
    /// The container is being stopped.
    Stopping,
    /// The container is being stopped, to be started again.
    Restarting,
    /// This keeps it from going on.
    Failed {
        /// The step it failed in.
        step: Step,
        /// What is wrong.
        problem: Problem,
    },
    /// It is as wanted.
    Settled(Settled),
    /// It is being deleted; this keeps it, if anything does.
    Deleting(Option<Problem>),
}

/// The status to write, given the one before.
pub fn describe(before: &WorkspaceStatus, situation: &Situation<'_>) -> WorkspaceStatus {
    let Situation { subject, record, progress, now, ref agent, .. } = *situation;
    let step = step_of(progress, record);
    let same_step = before.step.as_deref() == Some(step.as_str());
    let body = record.body.as_ref();
    WorkspaceStatus {
        observed_generation: Some(subject.generation),
        phase: Some(phase_of(progress, record).as_str().to_owned()),
        step: Some(step.as_str().to_owned()),
        step_index: Some(step.index()),
        total_steps: Some(Step::total()),
        step_message: step_message(progress),
        step_started_at: before.step_started_at.clone().filter(|_| same_step).or(Some(Time(now))),
        id: body.map(|body| body.id.to_string()),
        incarnation: body.map(|body| body.incarnation.0),
        template: body.and_then(|body| body.template.clone()),
        resolved: body.map(|body| Resolved {
            backend: body.backend.clone(),
            host: Some(body.host.clone()),
            image: body.resolved.image.clone(),
            user: body.resolved.user.clone(),
            cpu: body.resolved.cpu.to_string(),
            memory: body.resolved.memory.to_string(),
            pids: body.resolved.pids,
            vmid: body.number,
            disk: body.resolved.disk.map(|disk| disk.to_string()),
        }),
        container: container_status(before, situation),
        configured: record.configured.clone(),
        agent: match agent {
            AgentSight::Linked(agent) => Some(agent_status(agent)),
            AgentSight::Missing => before.agent.clone().filter(|_| is_well(progress)),
            AgentSight::NotUsed => None,
        },
        last_activity_at: last_activity(
            before.last_activity_at.as_ref().map(|time| time.0),
            situation.worked_at,
            now,
        )
        .map(Time),
        operation: record.clone_job.clone(),
        git: record.git.clone(),
        provision_deadline: record.provision_deadline.map(Time),
        suspended_at: matches!(progress, Progress::Settled(Settled::Suspended))
            .then(|| before.suspended_at.clone().unwrap_or(Time(now))),
        observed_retry_nonce: subject.retry_nonce.clone(),
        power: record.power.as_ref().map(Power::written),
        observed_restart_nonce: record.restart_nonce.clone(),
        error: error_status(before, step, progress, now),
        conditions: conditions(before, situation, step),
    }
}

/// What an agent says of itself, as far as it may stand in a status.
fn agent_status(agent: &AgentInfo) -> AgentStatus {
    let failed = agent.failed_update.as_ref();
    AgentStatus {
        version: agent.version.clone(),
        supervisor_version: agent.supervisor_version.clone(),
        build: agent.build.clone(),
        failed_update: failed.map(|failed| FailedUpdate {
            build: presentable(&failed.build),
            message: presentable(&failed.message),
        }),
    }
}

/// Whether nothing is said to be wrong: what is lost only for a moment is not worth a write.
fn is_well(progress: &Progress) -> bool {
    matches!(progress, Progress::Settled(Settled::Ready))
}

fn step_of(progress: &Progress, record: &Record) -> Step {
    match progress {
        Progress::Doing { step, .. } | Progress::Retrying { step } | Progress::Failed { step, .. } => *step,
        Progress::Settled(Settled::Ready) => Step::Ready,
        Progress::Restarting => Step::StartingContainer,
        Progress::Settled(Settled::Suspended) | Progress::Stopping | Progress::Deleting(_) => {
            record.step.unwrap_or(Step::Initializing)
        }
    }
}

fn step_message(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Doing { message, .. } => message.as_deref().map(|message| truncate(message, MESSAGE_LIMIT)),
        _ => None,
    }
}

fn phase_of(progress: &Progress, record: &Record) -> Phase {
    let before = record.phase;
    match progress {
        Progress::Deleting(_) => Phase::Terminating,
        Progress::Settled(Settled::Ready) => Phase::Running,
        Progress::Settled(Settled::Suspended) => Phase::Suspended,
        Progress::Stopping => Phase::Suspending,
        Progress::Restarting if matches!(before, Some(Phase::Running | Phase::Degraded)) => Phase::Resuming,
        Progress::Failed { problem, .. }
            if !problem.is_transient() && !matches!(before, Some(Phase::Running | Phase::Degraded)) =>
        {
            Phase::Failed
        }
        Progress::Restarting
        | Progress::Doing { .. }
        | Progress::Retrying { .. }
        | Progress::Failed { .. } => match before {
            Some(Phase::Running | Phase::Degraded) => Phase::Degraded,
            Some(Phase::Suspended | Phase::Suspending | Phase::Resuming) => Phase::Resuming,
            _ if record.body.is_none() => Phase::Pending,
            _ => Phase::Provisioning,
        },
    }
}

fn container_status(before: &WorkspaceStatus, situation: &Situation<'_>) -> Option<ContainerStatus> {
    situation.record.body.as_ref()?;
    match situation.observed {
        Observed::Body(_) => Some(match present(situation) {
            Some(container) => ContainerStatus {
                id: Some(container.id.chars().take(12).collect()),
                name: Some(container.name.clone()),
                state: container.state.as_str().to_owned(),
                ip: container.ip.map(|ip| ip.to_string()),
                ssh_host_key: situation.record.host_key.clone(),
                started_at: container.started_at.clone(),
            },
            None => ContainerStatus { state: "None".to_owned(), ..Default::default() },
        }),
        Observed::Nothing | Observed::Failed(_) => before.container.clone(),
    }
}

fn present<'a>(situation: &Situation<'a>) -> Option<&'a Container> {
    let incarnation = situation.record.body.as_ref()?.incarnation;
    match situation.observed {
        Observed::Body(body) => body.containers.iter().find(|container| container.incarnation == incarnation),
        _ => None,
    }
}

fn problem_of(progress: &Progress) -> Option<&Problem> {
    match progress {
        Progress::Failed { problem, .. } | Progress::Deleting(Some(problem)) => Some(problem),
        _ => None,
    }
}

fn error_status(
    before: &WorkspaceStatus,
    step: Step,
    progress: &Progress,
    now: Timestamp,
) -> Option<ErrorStatus> {
    if let Progress::Retrying { .. } = progress {
        return before.error.clone();
    }
    let problem = problem_of(progress)?;
    let since = before
        .error
        .as_ref()
        .filter(|error| error.reason == problem.reason && error.step == step.as_str())
        .map_or(Time(now), |error| error.at.clone());
    Some(ErrorStatus {
        step: step.as_str().to_owned(),
        reason: problem.reason.to_owned(),
        message: truncate(&problem.message, MESSAGE_LIMIT),
        hint: problem.hint.clone(),
        at: since,
        retryable: problem.is_transient(),
    })
}

fn conditions(before: &WorkspaceStatus, situation: &Situation<'_>, step: Step) -> Vec<Condition> {
    let Situation { subject, desired, record, observed, progress, now, .. } = *situation;
    if let Progress::Retrying { .. } = progress {
        return before.conditions.clone();
    }
    let mut list = ConditionList::new(&before.conditions, Some(subject.generation), now);
    if desired.is_some() {
        list.set(condition::ACCEPTED, true, "Accepted", "");
    }
    match observed {
        Observed::Body(_) => list.set(condition::BACKEND_READY, true, "Reachable", ""),
        Observed::Nothing | Observed::Failed(_) => list.keep(condition::BACKEND_READY),
    }
    template_condition(&mut list, situation);
    if record.body.is_some() {
        list.set(condition::SECRETS_READY, true, "Found", "");
        inner_conditions(&mut list, situation, step);
    }
    if let Some(problem) = problem_of(progress)
        && problem.condition != condition::READY
    {
        list.set(problem.condition, false, problem.reason, &problem.text());
    }
    summary(&mut list, situation, step);
    list.finish()
}

fn template_condition(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    let made_from = situation.record.body.as_ref().and_then(|body| body.template.as_ref());
    let present = situation.desired.map(|desired| desired.template.is_some());
    match (made_from, present) {
        (Some(template), Some(false)) => list.set(
            condition::TEMPLATE_RESOLVED,
            false,
            "TemplateNotFound",
            &format!(
                "Template {}/{} is gone; the workspace goes on without its environment",
                template.namespace, template.name
            ),
        ),
        (_, Some(true)) => list.set(condition::TEMPLATE_RESOLVED, true, "Found", ""),
        _ => list.keep(condition::TEMPLATE_RESOLVED),
    }
}

/// Conditions about what is inside the backend: container, network, environment, repository.
fn inner_conditions(list: &mut ConditionList<'_>, situation: &Situation<'_>, step: Step) {
    let Situation { desired, record, observed, progress, .. } = *situation;
    if let Observed::Failed(_) | Observed::Nothing = observed {
        for type_ in [
            condition::CONTAINER_READY,
            condition::NETWORK_READY,
            condition::ENVIRONMENT_READY,
            condition::REPOSITORY_READY,
            condition::AGENT_CONNECTED,
        ] {
            list.keep(type_);
        }
        container_conditions::keep(list);
        return;
    }
    let container = present(situation);
    let running = container.is_some_and(|container| container.state == RunState::Running);
    let suspended = matches!(progress, Progress::Settled(Settled::Suspended));
    let state = container.map_or("None", |container| container.state.as_str());
    match (running, suspended) {
        (true, _) => list.set(condition::CONTAINER_READY, true, "Running", ""),
        (false, true) => list.set(condition::CONTAINER_READY, true, "Stopped", ""),
        (false, false) => {
            list.set(condition::CONTAINER_READY, false, step.as_str(), &format!("the container is {state}"))
        }
    }
    if running {
        let ip = container.and_then(|container| container.ip);
        match ip {
            Some(_) => list.set(condition::NETWORK_READY, true, "AddressAssigned", ""),
            None => list.set(
                condition::NETWORK_READY,
                false,
                "WaitingForAddress",
                "the container has no address yet",
            ),
        }
        let set_up = is_set_up(record, container);
        if set_up {
            list.set(condition::ENVIRONMENT_READY, true, "Configured", "");
        } else {
            list.set(
                condition::ENVIRONMENT_READY,
                false,
                "NotConfigured",
                "user and environment are yet to be set up",
            );
        }
    }
    container_conditions::set(list, situation, container);
    agent_condition(list, situation, running);
    if desired.is_some_and(|desired| desired.repository.is_some()) {
        if record.git.is_some() {
            list.set(condition::REPOSITORY_READY, true, "Cloned", "");
        } else {
            list.set(condition::REPOSITORY_READY, false, "NotCloned", "the repository is yet to be cloned");
        }
    }
}

/// Whether the agent can be reached. One that is away for a moment only does not count as lost.
fn agent_condition(list: &mut ConditionList<'_>, situation: &Situation<'_>, running: bool) {
    match &situation.agent {
        AgentSight::Linked(agent) if running => {
            let failed = agent_status(agent).failed_update;
            let message = failed.map(|failed| {
                format!("its update to build {} was given up: {}", failed.build, failed.message)
            });
            list.set(condition::AGENT_CONNECTED, true, "Connected", &message.unwrap_or_default());
        }
        AgentSight::Missing if is_well(situation.progress) => list.keep(condition::AGENT_CONNECTED),
        AgentSight::Missing if running => {
            list.set(condition::AGENT_CONNECTED, false, "NotConnected", "the agent has no link to a gateway");
        }
        _ => {}
    }
}

fn is_set_up(record: &Record, container: Option<&Container>) -> bool {
    let boot = container.and_then(|container| container.started_at.as_deref());
    boot.is_some() && record.configured.as_ref().map(|configured| configured.started_at.as_str()) == boot
}

/// The conditions that sum up the others: Ready, Available, Reconciling, Stalled.
fn summary(list: &mut ConditionList<'_>, situation: &Situation<'_>, step: Step) {
    let Situation { desired, record, progress, .. } = *situation;
    let container = present(situation);
    let usable = container.is_some_and(|container| container.state == RunState::Running)
        && is_set_up(record, container)
        && (record.git.is_some() || desired.is_some_and(|desired| desired.repository.is_none()));
    let (reason, message) = match progress {
        Progress::Settled(Settled::Ready) => ("Running", String::new()),
        Progress::Settled(Settled::Suspended) => {
            let by = record.power.as_ref().map(|power| format!(" of {}", power.by)).unwrap_or_default();
            ("Suspended", format!("stopped on request{by}; its files are kept"))
        }
        Progress::Stopping => ("Suspending", "the container is being stopped".to_owned()),
        Progress::Restarting => {
            ("Restarting", "the container is being stopped, to be started again".to_owned())
        }
        Progress::Doing { .. } | Progress::Retrying { .. } => (step.as_str(), step_text(step).to_owned()),
        Progress::Failed { problem, .. } => (problem.reason, problem.text()),
        Progress::Deleting(None) => ("Terminating", "the workspace is being deleted".to_owned()),
        Progress::Deleting(Some(problem)) => {
            (problem.reason, format!("the workspace is being deleted, but {}", problem.text()))
        }
    };
    let settled = matches!(progress, Progress::Settled(_));
    list.set(condition::READY, settled, reason, &message);
    let available =
        usable && !matches!(progress, Progress::Deleting(_) | Progress::Stopping | Progress::Restarting);
    list.set(condition::AVAILABLE, available, if available { "Usable" } else { reason }, "");
    let stalled = problem_of(progress).is_some_and(|problem| !problem.is_transient());
    if stalled {
        list.set(condition::STALLED, true, reason, &message);
    } else if !settled {
        list.set(condition::RECONCILING, true, reason, &message);
    }
}

fn step_text(step: Step) -> &'static str {
    match step {
        Step::Initializing => "finding template, secrets and a host",
        Step::CreatingContainer => "getting the image and making the container",
        Step::StartingContainer => "starting the container",
        Step::ConfiguringNetwork => "setting up address, user and environment",
        Step::CloningRepository => "cloning the repository",
        Step::StartingAgent => "starting the agent",
        Step::Connecting => "waiting for the agent's link to the gateway",
        Step::Ready => "all is done",
    }
}

/// Whether two statuses differ in anything worth a write, as the API server would store them.
pub fn differs(before: &WorkspaceStatus, after: &WorkspaceStatus) -> bool {
    serde_json::to_value(before).ok() != serde_json::to_value(after).ok()
}
