//! What to say about a DevServer, from the same facts as the plan. Pure.

use berth_link::wire::process::{ProcessPhase, ProcessState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{
    DevServerStatus, LastExit, PreviewStatus,
    condition::{self, ConditionList, truncate},
};

use super::{
    phase::Phase,
    preview::PreviewState,
    situation::{AgentWord, Home, Situation},
    verdict::{Outcome, Verdict},
    words,
};

/// The longest nonce that a spec can have, in bytes.
const NONCE_LIMIT: usize = 512;

/// The status to write, given the one before.
pub fn describe(before: &DevServerStatus, situation: &Situation<'_>) -> DevServerStatus {
    let preview = PreviewState::of(situation);
    let verdict = Verdict::of(before, situation, &preview);
    let mut status = process_fields(before, situation);
    status.observed_generation = Some(situation.subject.generation);
    status.phase = Some(verdict.phase.as_str().to_owned());
    status.preview = preview_status(situation, &preview);
    status.conditions = conditions(before, situation, &preview, &verdict);
    if verdict.phase != Phase::Failed {
        status.last_output = None;
    }
    status
}

/// What is said of the process itself: what the agent tells, else what it told last.
fn process_fields(before: &DevServerStatus, situation: &Situation<'_>) -> DevServerStatus {
    let asleep = !matches!(situation.home, Home::Usable | Home::NotReady(_));
    let mut fields = match situation.agent {
        AgentWord::Told(Some(state)) => told(state),
        AgentWord::Told(None) => DevServerStatus { restart_count: Some(0), ..Default::default() },
        AgentWord::Unheard | AgentWord::Disconnected => before.clone(),
    };
    if asleep {
        fields.pid = None;
    }
    fields
}

fn told(state: &ProcessState) -> DevServerStatus {
    DevServerStatus {
        pid: state.pid,
        restart_count: Some(state.restart_count),
        started_at: state.started_at.map(Time),
        stopped_at: state.stopped_at.map(Time),
        last_exit: state.last_exit.map(|exit| LastExit { code: exit.code, signal: exit.signal }),
        last_error: state.last_error.as_deref().map(words::text).filter(|text| !text.is_empty()),
        last_output: state.last_output.as_deref().map(words::text).filter(|text| !text.is_empty()),
        observed_restart_nonce: Some(truncate(&state.restart_nonce, NONCE_LIMIT))
            .filter(|nonce| !nonce.is_empty()),
        ..Default::default()
    }
}

fn preview_status(situation: &Situation<'_>, preview: &PreviewState) -> Option<PreviewStatus> {
    let published = situation.published?;
    let (open, expires) = match preview {
        PreviewState::Published { expires } => (true, *expires),
        PreviewState::Expired { at } => (false, Some(*at)),
        PreviewState::Unwanted | PreviewState::Blocked { .. } => (false, None),
    };
    Some(PreviewStatus {
        host: Some(published.host.clone()),
        url: situation.config.url(&published.host).filter(|_| open),
        created_at: Some(Time(published.since)),
        expires_at: expires.map(Time),
    })
}

fn conditions(
    before: &DevServerStatus,
    situation: &Situation<'_>,
    preview: &PreviewState,
    verdict: &Verdict,
) -> Vec<Condition> {
    let mut list = ConditionList::new(&before.conditions, Some(situation.subject.generation), situation.now);
    let refusal = situation.desired.as_ref().err().or(situation.place.refused.as_ref());
    match refusal {
        Some(problem) => list.set(condition::ACCEPTED, false, problem.reason, &problem.text()),
        None => list.set(condition::ACCEPTED, true, "Accepted", ""),
    }
    workspace_condition(&mut list, situation);
    if refusal.is_none() {
        secrets_condition(&mut list, situation);
        process_conditions(&mut list, situation);
        preview_condition(&mut list, situation, preview, verdict);
    }
    summary(&mut list, verdict);
    list.finish()
}

fn workspace_condition(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    let linked = matches!(situation.agent, AgentWord::Told(_));
    let name = &situation.subject.home.name;
    let (ready, reason, message) = match situation.home {
        Home::Missing => (false, "WorkspaceNotFound", format!("there is no Workspace {name:?}")),
        Home::Terminating => (false, "WorkspaceTerminating", format!("Workspace {name:?} is being deleted")),
        Home::Suspended => (true, "Suspended", String::new()),
        Home::Usable => (true, "Usable", String::new()),
        Home::NotReady(_) if linked => (true, "AgentConnected", String::new()),
        Home::NotReady(phase) => (false, "WorkspaceNotReady", format!("Workspace {name:?} is {phase}")),
    };
    list.set(condition::WORKSPACE_READY, ready, reason, &message);
}

fn secrets_condition(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    let refers = |env: &[crate::api::EnvVar]| env.iter().any(|variable| variable.value_from.is_some());
    match situation.environment {
        Err(problem) => list.set(condition::SECRETS_READY, false, problem.reason, &problem.text()),
        Ok(_) if situation.desired.as_ref().is_ok_and(|desired| refers(&desired.env)) => {
            list.set(condition::SECRETS_READY, true, "Found", "");
        }
        Ok(_) => {}
    }
}

/// Whether the process runs, and whether its port is open.
fn process_conditions(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    let has_port = situation.desired.as_ref().is_ok_and(|desired| desired.port.is_some());
    match (situation.home, situation.agent) {
        (Home::Missing | Home::Terminating, _) => {}
        (Home::Suspended, _) => {
            list.set(condition::PROCESS_RUNNING, false, "Suspended", "the Workspace is suspended");
            if has_port {
                list.set(condition::PORT_OPEN, false, "Suspended", "");
            }
        }
        (_, AgentWord::Unheard) => {
            list.keep(condition::PROCESS_RUNNING);
            list.keep(condition::PORT_OPEN);
        }
        (_, AgentWord::Disconnected) => {
            let message = "the workspace's agent is not connected";
            list.set_unknown(condition::PROCESS_RUNNING, "AgentNotConnected", message);
            if has_port {
                list.set_unknown(condition::PORT_OPEN, "AgentNotConnected", "");
            }
        }
        (_, AgentWord::Told(state)) => {
            let (runs, reason) = running(state.as_deref());
            list.set(condition::PROCESS_RUNNING, runs, reason, "");
            if has_port {
                let open = runs && state.as_ref().is_some_and(|state| state.port_open);
                list.set(condition::PORT_OPEN, open, if open { "Open" } else { "Closed" }, "");
            }
        }
    }
}

fn running(state: Option<&ProcessState>) -> (bool, &'static str) {
    match state.map(|state| state.phase) {
        None => (false, "NotStarted"),
        Some(ProcessPhase::Starting) => (true, "Starting"),
        Some(ProcessPhase::Running) => (true, "Running"),
        Some(ProcessPhase::Stopping) => (true, "Stopping"),
        Some(ProcessPhase::Restarting) => (false, "Restarting"),
        Some(ProcessPhase::Stopped) => (false, "Stopped"),
        Some(ProcessPhase::Failed) => (false, "Failed"),
    }
}

fn preview_condition(
    list: &mut ConditionList<'_>,
    situation: &Situation<'_>,
    preview: &PreviewState,
    verdict: &Verdict,
) {
    let set = |list: &mut ConditionList<'_>, ready, reason: &str, message: &str| {
        list.set(condition::PREVIEW_READY, ready, reason, message);
    };
    match preview {
        PreviewState::Unwanted => {}
        PreviewState::Blocked { problem, .. } => set(list, false, problem.reason, &problem.text()),
        PreviewState::Expired { at } => {
            set(list, false, "Expired", &format!("the preview's lifetime was over at {at:.0}"));
        }
        PreviewState::Published { .. } if verdict.outcome == Outcome::Keep => {
            list.keep(condition::PREVIEW_READY);
        }
        PreviewState::Published { .. } => match situation.agent {
            _ if verdict.outcome == Outcome::Unknown => {
                list.set_unknown(condition::PREVIEW_READY, "AgentNotConnected", "");
            }
            _ if let Err(problem) = situation.route => set(list, false, problem.reason, &problem.text()),
            AgentWord::Told(Some(state)) if state.port_open && *situation.home != Home::Suspended => {
                set(list, true, "Published", "");
            }
            _ if *situation.home == Home::Suspended => {
                set(list, false, "Suspended", "the Workspace is suspended");
            }
            _ => set(list, false, "PortClosed", "the process does not serve its port"),
        },
    }
}

/// The conditions that sum up the others: Ready, Reconciling, Stalled.
fn summary(list: &mut ConditionList<'_>, verdict: &Verdict) {
    let Verdict { reason, message, .. } = verdict;
    match verdict.outcome {
        Outcome::Keep => {
            for type_ in [condition::READY, condition::RECONCILING, condition::STALLED] {
                list.keep(type_);
            }
        }
        Outcome::AsWanted => list.set(condition::READY, true, reason, message),
        Outcome::Unknown => {
            list.set_unknown(condition::READY, reason, message);
            list.set(condition::RECONCILING, true, reason, message);
        }
        Outcome::Working => {
            list.set(condition::READY, false, reason, message);
            list.set(condition::RECONCILING, true, reason, message);
        }
        Outcome::Stuck => {
            list.set(condition::READY, false, reason, message);
            list.set(condition::STALLED, true, reason, message);
        }
    }
}

/// Whether two statuses differ in anything worth a write, as the API server would store them.
pub fn differs(before: &DevServerStatus, after: &DevServerStatus) -> bool {
    serde_json::to_value(before).ok() != serde_json::to_value(after).ok()
}
