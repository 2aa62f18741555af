//! The next action for a Template, from what is wanted, written down and seen. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::condition,
    backend::{BackendError, Body, Container, RunState, TemplatePlace},
    controller::workspace::{
        plan::{Limits, Observed, Search},
        problem::Problem,
    },
};

use super::{
    OPERATION_CLEAN, OPERATION_PROVISION,
    phase::{State, Step},
    record::{Record, RecordedBody},
    validate::{Build, Subject, Wanted},
};

/// How long packages and user may take.
const PROVISIONING: Duration = Duration::from_secs(3600);

/// The one next action.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Put our finalizer on the object.
    AddFinalizer,
    /// Search the backends for what was made before the status was lost.
    Find,
    /// Choose id and node.
    Assign,
    /// Reserve a VMID, and write it down with id and node.
    Reserve,
    /// Make the container.
    Create,
    /// The container is gone: go back to before it was made.
    BeginAnew,
    /// Start the container.
    Start,
    /// Wait for the container's address.
    AwaitAddress,
    /// Start the job that installs packages and sets up the user.
    StartProvisioning,
    /// See how that job stands.
    WatchProvisioning,
    /// Leave the container running for changes by hand.
    Stage,
    /// Take out what must not be shared.
    Clean,
    /// Stop the container.
    Stop,
    /// Make a template of the container.
    Convert,
    /// Remove the container that was not finished.
    Discard,
    /// Nothing: Workspaces can be made from it.
    Usable,
    /// Nothing: what failed is not tried again until something changes.
    Stalled,
    /// This keeps it from going on.
    Blocked(Step, Problem),
}

/// What is known when a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who it is about.
    pub subject: &'a Subject,
    /// What is written down.
    pub record: &'a Record,
    /// What was found of its container.
    pub observed: &'a Observed,
    /// Where its template is, once it was asked for.
    pub place: Option<&'a Result<TemplatePlace, BackendError>>,
    /// Whether there may be something of it that is not written down.
    pub search: Search,
    /// How long things may take.
    pub limits: Limits,
    /// The time.
    pub now: Timestamp,
}

/// The next action for a Template that is not being deleted.
pub fn plan(wanted: &Wanted, facts: Facts<'_>) -> Plan {
    match wanted {
        Wanted::Build(build) => plan_build(build, facts),
        Wanted::Image | Wanted::Existing { .. } if facts.record.body.is_some() => Plan::Blocked(
            Step::Initializing,
            changed("it was built from an OS template before, and is to be something else now"),
        ),
        Wanted::Image => Plan::Usable,
        Wanted::Existing { .. } => see_template(facts, Step::Initializing),
    }
}

fn plan_build(build: &Build, facts: Facts<'_>) -> Plan {
    let Facts { subject, record, search, .. } = facts;
    if let Some((generation, nonce)) = &record.standing
        && (*generation == Some(subject.generation) && *nonce == subject.retry_nonce)
    {
        match &record.body {
            None => return Plan::Stalled,
            // What is built is never removed for a failure after that.
            Some(body) if body.state != Some(State::Converted) => return Plan::Discard,
            Some(_) => {}
        }
    }
    if !subject.has_finalizer {
        return Plan::AddFinalizer;
    }
    let Some(body) = &record.body else {
        return if search == Search::Needed { Plan::Find } else { Plan::Assign };
    };
    // Nobody's work is in it until it is provisioned.
    if body.state.is_none() && (body.fingerprint != build.fingerprint || record.standing.is_some()) {
        return Plan::Discard;
    }
    if body.backend != build.backend {
        let words = format!("it is on backend {:?}, and is to be on {:?} now", body.backend, build.backend);
        return Plan::Blocked(Step::Initializing, changed(words));
    }
    if body.number.is_none() {
        return Plan::Reserve;
    }
    match facts.observed {
        Observed::Body(seen) => go_on(build, body, seen, facts),
        Observed::Failed(error) => Plan::Blocked(current_step(record), error.clone().into()),
        Observed::Nothing => Plan::Blocked(
            current_step(record),
            Problem::transient(condition::BACKEND_READY, "BackendUnreachable", "the backend was not asked"),
        ),
    }
}

fn go_on(build: &Build, body: &RecordedBody, seen: &Body, facts: Facts<'_>) -> Plan {
    let Some(container) = seen.containers.last() else {
        return match body.state {
            None => Plan::Create,
            Some(State::Converted) => Plan::Blocked(Step::Ready, gone(body)),
            Some(State::Provisioned | State::Cleaned) => Plan::BeginAnew,
        };
    };
    let running = container.state == RunState::Running;
    let boot = container.started_at.as_deref().unwrap_or_default();
    match body.state {
        Some(State::Converted) => see_template(facts, Step::Ready),
        // What was started again after it was cleaned has made keys of its own meanwhile.
        Some(State::Cleaned) if running && facts.record.handle(OPERATION_CLEAN) == Some(boot) => Plan::Stop,
        Some(State::Cleaned) if !running => Plan::Convert,
        _ if !running => Plan::Start,
        _ if container.ip.is_none() => await_address(container, facts),
        None => provision(boot, facts),
        Some(State::Provisioned) if build.staging => Plan::Stage,
        Some(State::Provisioned | State::Cleaned) => Plan::Clean,
    }
}

fn provision(boot: &str, facts: Facts<'_>) -> Plan {
    let Some(handle) = facts.record.handle(OPERATION_PROVISION) else { return Plan::StartProvisioning };
    if job_on(handle, boot).is_none() {
        return Plan::StartProvisioning;
    }
    let started = facts.record.operation.as_ref().map_or(facts.now, |operation| operation.started_at.0);
    let taken = Duration::try_from(facts.now.duration_since(started)).unwrap_or_default();
    if taken < PROVISIONING {
        return Plan::WatchProvisioning;
    }
    let words =
        format!("packages and user were not set up within {}", crate::config::GoDuration(PROVISIONING));
    Plan::Blocked(Step::Provisioning, Problem::permanent(condition::READY, "ProvisionTimeout", words))
}

fn await_address(container: &Container, facts: Facts<'_>) -> Plan {
    let started = container.started_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let since = started.and_then(|started| Duration::try_from(facts.now.duration_since(started)).ok());
    let waited = container.running_for.or(since).unwrap_or_default();
    if waited < facts.limits.ip {
        return Plan::AwaitAddress;
    }
    let words = format!("the container has had no address for {} s", waited.as_secs());
    Plan::Blocked(
        Step::ConfiguringNetwork,
        Problem::transient(condition::NETWORK_READY, "IpTimeout", words)
            .hint("look at the bridge of the backend, and at its DHCP server"),
    )
}

fn see_template(facts: Facts<'_>, step: Step) -> Plan {
    match facts.place {
        Some(Ok(_)) => Plan::Usable,
        Some(Err(error)) => Plan::Blocked(step, error.clone().into()),
        None => Plan::Blocked(
            step,
            Problem::transient(condition::BACKEND_READY, "BackendUnreachable", "the backend was not asked"),
        ),
    }
}

fn gone(body: &RecordedBody) -> Problem {
    let words = format!("CT {} is gone from the cluster", body.number.unwrap_or_default());
    Problem::transient(condition::TEMPLATE_RESOLVED, "TemplateImageMissing", words)
        .hint("delete the Template and create it anew")
}

fn changed(words: impl Into<String>) -> Problem {
    Problem::permanent(condition::ACCEPTED, "SpecChanged", words)
        .hint("take the change back, or delete the Template and create it anew")
}

/// The step a Template was last said to be in.
pub fn current_step(record: &Record) -> Step {
    record.step.unwrap_or(Step::Initializing)
}

/// By what a job is found again: its name, and the boot that it lives and dies with.
pub fn job_handle(job: &str, boot: &str) -> String {
    format!("{job}@{boot}")
}

/// The name of the job, where it was started on this boot.
pub fn job_on<'a>(handle: &'a str, boot: &str) -> Option<&'a str> {
    handle.split_once('@').filter(|(_, started_on)| *started_on == boot).map(|(job, _)| job)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
