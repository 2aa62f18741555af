//! The next step of a Workspace, from what is wanted, what was written down and what is there.
//!
//! Pure: no clock, no client, no randomness. Everything an operator could have forgotten in a
//! crash is recomputed here on every pass.

use jiff::Timestamp;
use std::time::Duration;

use crate::{
    api::{OperatingMode, condition},
    backend::{BackendError, Body, Container, Incarnation, RunState},
};

use super::{
    agent::{Expected, Sight},
    phase::{Phase, Step},
    power::PowerState,
    problem::Problem,
    record::{Record, StandingError},
    validate::{DeletionRequest, Desired, Subject, WayOut},
};

/// What was found on the backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Observed {
    /// Nothing was asked: there is no place to ask yet.
    #[default]
    Nothing,
    /// This is there.
    Body(Body),
    /// It could not be asked.
    Failed(BackendError),
}

/// The one next action.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Put our finalizer on the object, before anything is made.
    AddFinalizer,
    /// Look on the backend for what an earlier life of this object left: its status has no id,
    /// but its finalizer says that there may have been one.
    Find,
    /// Choose id and host, and see that every Secret exists.
    Assign,
    /// Take over what is newer on the backend than what was written down.
    Adopt(Incarnation),
    /// The container is gone: count up, so that the next one gets a new name.
    NextIncarnation,
    /// Remove a container of an earlier incarnation, or one that is beyond use.
    RemoveContainer(Incarnation),
    /// Get the image, then make network, volumes and container.
    CreateContainer,
    /// Start the container.
    StartContainer {
        /// How the container ended, when it ran before and was not stopped by us.
        crash: Option<Crash>,
    },
    /// Wait for something that the backend does by itself, at most for this long.
    Wait {
        /// What for.
        step: Step,
        /// In words.
        message: String,
        /// When to look again at the latest.
        look_again: Duration,
    },
    /// Set up user and environment.
    Configure,
    /// Start the clone job.
    StartClone,
    /// See how the clone job is doing.
    WatchClone,
    /// See why the agent has no link, and wait for it where that may still come.
    CheckAgent(Sight),
    /// Stop the container.
    Stop,
    /// Stop the container, to start it again.
    Restart,
    /// Note that there is nothing left to stop for the restart that was asked for.
    NoteRestart,
    /// Nothing is to be done: it is as wanted.
    Settled(Settled),
    /// Nothing can be done now.
    Blocked(Step, Problem),
    /// A permanent failure was found earlier and nothing has changed since: leave the status be.
    Stalled,
}

/// Whether the backend must be searched for a body whose id is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Search {
    /// There can be none: the object has just been seen for the first time. Or it was searched.
    NotNeeded,
    /// The finalizer says that there may be one.
    Needed,
}

/// How a container ended by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crash {
    /// Its exit code.
    pub exit_code: i64,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
}

/// The ways of being as wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settled {
    /// Running and usable.
    Ready,
    /// Stopped, as wanted.
    Suspended,
}

/// Time limits that the plan knows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start of a container to its address.
    pub ip: Duration,
    /// From a request for deletion to giving up on a backend that does not answer.
    pub deletion: Duration,
}

/// The next action for an object that is not being deleted.
pub fn plan(
    desired: &Desired,
    record: &Record,
    observed: &Observed,
    search: Search,
    agent: &Expected,
    limits: Limits,
    now: Timestamp,
) -> Plan {
    let subject = &desired.subject;
    if !subject.has_finalizer {
        return Plan::AddFinalizer;
    }
    let Some(body) = &record.body else {
        return if search == Search::Needed { Plan::Find } else { Plan::Assign };
    };
    let seen = match observed {
        Observed::Body(seen) => seen,
        Observed::Failed(error) => {
            return Plan::Blocked(current_step(record), Problem::from(error.clone()));
        }
        Observed::Nothing => return Plan::Blocked(Step::Initializing, unresolved()),
    };
    if let Some(newer) = seen.containers.iter().map(|container| container.incarnation).max()
        && newer > body.incarnation
    {
        return Plan::Adopt(newer);
    }
    let container = seen.containers.iter().find(|container| container.incarnation == body.incarnation);
    if let Some(plan) = restart(desired, record, container) {
        return plan;
    }
    if let Some(standing) = &record.standing
        && still_stands(standing, subject)
    {
        return Plan::Stalled;
    }
    if let Some(stale) = seen.containers.iter().find(|container| container.incarnation < body.incarnation) {
        return Plan::RemoveContainer(stale.incarnation);
    }
    let suspended = is_to_be_suspended(desired, record);
    let plan = match container {
        None if suspended => Plan::Settled(Settled::Suspended),
        None if record.container_seen => Plan::NextIncarnation,
        None => Plan::CreateContainer,
        Some(container) if suspended => suspend(container),
        Some(container) => bring_up(desired, record, container, agent, limits, now),
    };
    match record.provision_deadline {
        Some(deadline) if now >= deadline && !matches!(plan, Plan::Settled(_)) => {
            Plan::Blocked(current_step(record), provision_timeout(desired, record))
        }
        _ => plan,
    }
}

/// Whether the container is to be stopped: by the spec, or by a command.
fn is_to_be_suspended(desired: &Desired, record: &Record) -> bool {
    desired.mode == OperatingMode::Suspended
        || record.power.as_ref().is_some_and(|power| power.state == PowerState::Suspended)
}

/// What is to be done for a restart that was asked for. It ends with the note that the container
/// does not run: it is written before the container is started, so none is stopped twice.
fn restart(desired: &Desired, record: &Record, container: Option<&Container>) -> Option<Plan> {
    let by_command = record.power.as_ref().is_some_and(|power| power.state == PowerState::Restarting);
    if desired.restart_nonce == record.restart_nonce && !by_command {
        return None;
    }
    let is_up = container.is_some_and(|container| {
        matches!(container.state, RunState::Running | RunState::Restarting | RunState::Paused)
    });
    let wanted = (desired.restart_nonce.is_some() || by_command) && !is_to_be_suspended(desired, record);
    Some(if is_up && wanted { Plan::Restart } else { Plan::NoteRestart })
}

fn suspend(container: &Container) -> Plan {
    match container.state {
        RunState::Running | RunState::Restarting | RunState::Paused => Plan::Stop,
        RunState::Created | RunState::Exited | RunState::Dead => Plan::Settled(Settled::Suspended),
        RunState::Removing => wait(Step::CreatingContainer, "the container is being removed"),
    }
}

fn bring_up(
    desired: &Desired,
    record: &Record,
    container: &Container,
    agent: &Expected,
    limits: Limits,
    now: Timestamp,
) -> Plan {
    match container.state {
        RunState::Created => Plan::StartContainer { crash: None },
        RunState::Exited => Plan::StartContainer { crash: crash(record, container) },
        RunState::Dead => Plan::RemoveContainer(container.incarnation),
        RunState::Removing => wait(Step::CreatingContainer, "the container is being removed"),
        RunState::Restarting => wait(Step::StartingContainer, "the backend is restarting the container"),
        RunState::Paused => Plan::Blocked(
            Step::StartingContainer,
            Problem::transient(
                condition::CONTAINER_READY,
                "ContainerPaused",
                "somebody paused the container on its host",
            )
            .hint("unpause it there, as with docker unpause"),
        ),
        RunState::Running => inside(desired, record, container, agent, limits, now),
    }
}

/// The container runs: what is still to be done in it.
fn inside(
    desired: &Desired,
    record: &Record,
    container: &Container,
    agent: &Expected,
    limits: Limits,
    now: Timestamp,
) -> Plan {
    let boot = container.started_at.as_deref().unwrap_or_default();
    if container.ip.is_none() {
        return await_address(container, limits, now);
    }
    let configured = record.configured.as_ref();
    let set_up = configured.is_some_and(|configured| {
        configured.started_at == boot
            && configured.generation == desired.subject.generation
            && configured.agent == agent.version
    });
    if !set_up {
        return Plan::Configure;
    }
    match (&desired.repository, &record.git, &record.clone_job) {
        (None, _, _) | (_, Some(_), _) => await_agent(record, agent.sight),
        (Some(_), None, Some(job)) if clone_job_on(&job.handle, boot).is_some() => Plan::WatchClone,
        (Some(_), None, _) => Plan::StartClone,
    }
}

/// Everything else is done. A workspace that was well stays so while its agent may yet come back.
fn await_agent(record: &Record, sight: Sight) -> Plan {
    match sight {
        Sight::NotUsed | Sight::Linked => Plan::Settled(Settled::Ready),
        Sight::Awaited if record.phase == Some(Phase::Running) => Plan::Settled(Settled::Ready),
        Sight::Awaited | Sight::Overdue => Plan::CheckAgent(sight),
    }
}

/// By what a clone job is found again: its name, and the boot that it lives and dies with.
pub fn clone_handle(job: &str, boot: &str) -> String {
    format!("{job}@{boot}")
}

/// The name of the job, where it was started on this boot.
pub fn clone_job_on<'a>(handle: &'a str, boot: &str) -> Option<&'a str> {
    handle.split_once('@').filter(|(_, started_on)| *started_on == boot).map(|(job, _)| job)
}

fn await_address(container: &Container, limits: Limits, now: Timestamp) -> Plan {
    let started = container.started_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let since_start = started.and_then(|started| Duration::try_from(now.duration_since(started)).ok());
    let waited = container.running_for.or(since_start).unwrap_or_default();
    if waited < limits.ip {
        return wait(Step::ConfiguringNetwork, "waiting for the container's address");
    }
    Plan::Blocked(
        Step::ConfiguringNetwork,
        Problem::transient(
            condition::NETWORK_READY,
            "IpTimeout",
            format!("the container has had no address for {} s", waited.as_secs()),
        )
        .hint("look at the workspace's network on the host"),
    )
}

/// A container that has exited on a boot that we saw running ended by itself.
fn crash(record: &Record, container: &Container) -> Option<Crash> {
    let seen_running = record.seen_boot.is_some()
        && record.seen_boot == container.started_at
        && !matches!(record.phase, Some(Phase::Suspended | Phase::Suspending | Phase::Resuming));
    seen_running.then(|| Crash {
        exit_code: container.exit_code.unwrap_or_default(),
        out_of_memory: container.out_of_memory,
    })
}

fn wait(step: Step, message: &str) -> Plan {
    Plan::Wait { step, message: message.to_owned(), look_again: Duration::from_secs(1) }
}

fn still_stands(standing: &StandingError, subject: &Subject) -> bool {
    standing.generation == Some(subject.generation) && standing.retry_nonce == subject.retry_nonce
}

fn provision_timeout(desired: &Desired, record: &Record) -> Problem {
    let limit = crate::config::GoDuration(desired.provision_timeout);
    let step = current_step(record).as_str();
    let message = match &record.last_message {
        Some(last) => format!("not Ready within {limit}; it hung in {step}: {last}"),
        None => format!("not Ready within {limit}; it hung in {step}"),
    };
    Problem::permanent(condition::READY, "ProvisionTimeout", message).hint(
        "change the annotation berth.dev/retry-nonce to try again, or raise provisionTimeout in the Template",
    )
}

fn unresolved() -> Problem {
    Problem::transient(condition::BACKEND_READY, "BackendUnreachable", "the backend was not asked")
}

/// The step a Workspace was last said to be in.
pub fn current_step(record: &Record) -> Step {
    record.step.unwrap_or(Step::Initializing)
}

/// The one next action for an object that is being deleted.
#[derive(Clone, Debug, PartialEq)]
pub enum DeletionPlan {
    /// Look on the backend for what was made before the status was lost.
    Find,
    /// Remove everything from the backend.
    Remove,
    /// Wait for the backend.
    Wait(Problem),
    /// Write what is left to do into the ledger; then release.
    Ledger,
    /// Take our finalizer off: nothing is left.
    Release,
}

/// The next action for a Workspace that is being deleted. `searched` says whether the backends were
/// searched for a body whose id is not known, and how that ended.
pub fn plan_deletion(
    subject: &Subject,
    record: &Record,
    observed: &Observed,
    searched: Option<&Result<(), BackendError>>,
    limits: Limits,
    now: Timestamp,
) -> DeletionPlan {
    match &subject.deletion {
        Some(request) if subject.has_finalizer => {
            plan_removal(request, record.body.is_some(), observed, searched, limits, now)
        }
        _ => DeletionPlan::Release,
    }
}

/// The next action for whatever holds our finalizer and is being deleted, given whether it is known
/// to have a body.
pub fn plan_removal(
    request: &DeletionRequest,
    has_body: bool,
    observed: &Observed,
    searched: Option<&Result<(), BackendError>>,
    limits: Limits,
    now: Timestamp,
) -> DeletionPlan {
    if request.way_out == Some(WayOut::Orphan) {
        return DeletionPlan::Release;
    }
    let waited = Duration::try_from(now.duration_since(request.since)).unwrap_or_default();
    let patience_ended = request.way_out == Some(WayOut::Force) || waited >= limits.deletion;
    let unreachable = |error: &BackendError| {
        if patience_ended { DeletionPlan::Ledger } else { DeletionPlan::Wait(Problem::from(error.clone())) }
    };
    if !has_body {
        return match searched {
            None => DeletionPlan::Find,
            Some(Ok(())) => DeletionPlan::Release,
            Some(Err(error)) => unreachable(error),
        };
    }
    match observed {
        Observed::Body(body) if is_gone(body, request.retain_volumes) => DeletionPlan::Release,
        Observed::Body(_) => DeletionPlan::Remove,
        Observed::Failed(error) if error.reason == crate::backend::Reason::NotOwned => DeletionPlan::Release,
        Observed::Failed(error) => unreachable(error),
        Observed::Nothing => unreachable(&BackendError::new(
            crate::backend::Reason::Unreachable,
            "the operator's configuration no longer has the backend",
        )),
    }
}

fn is_gone(body: &Body, retain_volumes: bool) -> bool {
    body.containers.is_empty()
        && !body.unfinished
        && !body.network
        && (retain_volumes || body.volumes.is_empty())
}
