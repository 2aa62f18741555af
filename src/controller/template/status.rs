//! What to say about a Template, from the same facts as the plan. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::{
        ProxmoxTemplateStatus, TemplatePhase, TemplateStatus,
        condition::{self, ConditionList, MESSAGE_LIMIT, truncate},
    },
    backend::{BackendError, Reason, TemplatePlace},
    controller::workspace::problem::Problem,
    provision::redact::presentable,
};

use super::{
    phase::{State, Step},
    plan::current_step,
    record::Record,
    validate::{Subject, Wanted},
};

/// How far a Template has come.
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
    Retrying(Step),
    /// It runs, for changes by hand.
    Staging,
    /// Workspaces can be made from it.
    Usable,
    /// This keeps it from going on.
    Failed(Step, Problem),
    /// What was said of a permanent failure stands.
    Standing,
    /// It is being deleted; this keeps it, if anything does.
    Deleting(Option<Problem>),
}

/// Everything a status is made of.
pub struct Situation<'a> {
    /// Who it is about.
    pub subject: &'a Subject,
    /// What is wanted; absent while the spec can not be used.
    pub wanted: Option<&'a Wanted>,
    /// What is written down.
    pub record: &'a Record,
    /// Where its template is, once it was asked for.
    pub place: Option<&'a Result<TemplatePlace, BackendError>>,
    /// Whether it is its namespace's default.
    pub is_default: bool,
    /// The Template that is the default although this one is marked as well.
    pub rival: Option<String>,
    /// How far it has come.
    pub progress: &'a Progress,
    /// The time.
    pub now: Timestamp,
}

/// The status to write, given the one before.
pub fn describe(before: &TemplateStatus, situation: &Situation<'_>) -> TemplateStatus {
    let Situation { subject, record, progress, .. } = *situation;
    let phase = phase_of(before, situation);
    let step = match progress {
        Progress::Doing { step, .. } | Progress::Retrying(step) | Progress::Failed(step, _) => Some(*step),
        Progress::Staging => Some(Step::Provisioning),
        Progress::Standing | Progress::Deleting(_) => record.step,
        Progress::Usable => record.body.is_some().then_some(Step::Ready),
    };
    let message = match progress {
        Progress::Doing { message, .. } => message.as_deref(),
        _ => None,
    };
    TemplateStatus {
        observed_generation: (subject.generation != 0).then_some(subject.generation),
        phase: Some(phase.as_str().to_owned()),
        step: step.map(|step| step.as_str().to_owned()),
        step_message: message.map(|message| truncate(&presentable(message), MESSAGE_LIMIT)),
        proxmox: on_its_cluster(before, situation),
        staging_ip: record.staging_ip.clone().filter(|_| phase == TemplatePhase::Staging),
        operation: record.operation.clone(),
        default: Some(situation.is_default),
        observed_retry_nonce: subject.retry_nonce.clone(),
        conditions: conditions(before, situation),
    }
}

fn phase_of(before: &TemplateStatus, situation: &Situation<'_>) -> TemplatePhase {
    let building = match situation.record.body {
        Some(_) => TemplatePhase::Provisioning,
        None => TemplatePhase::Pending,
    };
    match situation.progress {
        Progress::Usable => TemplatePhase::Ready,
        Progress::Staging => TemplatePhase::Staging,
        Progress::Standing => TemplatePhase::Failed,
        Progress::Failed(_, problem) if !problem.is_transient() => TemplatePhase::Failed,
        Progress::Failed(_, problem) if stays_ready(situation.record, problem) => TemplatePhase::Ready,
        Progress::Failed(_, problem) if problem.reason == Reason::TemplateMissing.as_str() => {
            TemplatePhase::Pending
        }
        Progress::Deleting(_) => {
            let known = before.phase.as_deref();
            let phases = [TemplatePhase::Ready, TemplatePhase::Staging, TemplatePhase::Failed];
            phases.into_iter().find(|phase| known == Some(phase.as_str())).unwrap_or(building)
        }
        Progress::Doing { .. } | Progress::Retrying(_) | Progress::Failed(..) => building,
    }
}

/// A template that could not be looked at is none the worse for it.
fn stays_ready(record: &Record, problem: &Problem) -> bool {
    record.was_ready && problem.is_transient() && problem.reason != Reason::TemplateMissing.as_str()
}

fn on_its_cluster(before: &TemplateStatus, situation: &Situation<'_>) -> Option<ProxmoxTemplateStatus> {
    if let Some(body) = &situation.record.body {
        return Some(body.written());
    }
    let Some(Wanted::Existing { backend, vmid }) = situation.wanted else { return None };
    let known = before.proxmox.clone().filter(|known| known.vmid == Some(*vmid)).unwrap_or_default();
    let (node, storage) = match situation.place {
        Some(Ok(place)) => (Some(place.host.clone()), place.storage.clone()),
        _ => (known.node, known.storage),
    };
    Some(ProxmoxTemplateStatus {
        backend: Some(backend.clone()),
        vmid: Some(*vmid),
        node,
        storage,
        ..ProxmoxTemplateStatus::default()
    })
}

fn conditions(before: &TemplateStatus, situation: &Situation<'_>) -> Vec<Condition> {
    let Situation { subject, record, progress, now, .. } = *situation;
    if matches!(progress, Progress::Retrying(_) | Progress::Standing) {
        return before.conditions.clone();
    }
    let generation = (subject.generation != 0).then_some(subject.generation);
    let mut list = ConditionList::new(&before.conditions, generation, now);
    let (reason, message) = match progress {
        Progress::Usable => match &situation.rival {
            Some(other) => (
                "DefaultConflict",
                format!("Template {other:?} is older and marked too: it is this namespace's default"),
            ),
            None => ("Usable", String::new()),
        },
        Progress::Staging => {
            let place = record.staging_ip.as_deref().unwrap_or("its address");
            let words = format!(
                "the container runs at {place} for changes by hand; set spec.proxmox.staging to false to go on"
            );
            ("Staging", words)
        }
        Progress::Failed(_, problem) => (problem.reason, problem.text()),
        Progress::Deleting(None) => ("Terminating", "the Template is being deleted".to_owned()),
        Progress::Deleting(Some(problem)) => {
            (problem.reason, format!("the Template is being deleted, but {}", problem.text()))
        }
        Progress::Doing { step, .. } => (step.as_str(), step.text().to_owned()),
        Progress::Retrying(_) | Progress::Standing => ("Retrying", String::new()),
    };
    let problem = match progress {
        Progress::Failed(_, problem) => Some(problem),
        _ => None,
    };
    let usable = matches!(progress, Progress::Usable);
    let unseen = problem.is_some_and(|problem| stays_ready(record, problem));
    if unseen {
        list.set(condition::READY, true, "Usable", &format!("it could not be looked at: {message}"));
    } else {
        list.set(condition::READY, usable, reason, &message);
    }
    match problem {
        Some(problem) if problem.condition == condition::BACKEND_READY => {
            list.set(condition::BACKEND_READY, false, reason, &message);
        }
        Some(_) => list.keep(condition::BACKEND_READY),
        None if situation.place.is_some() || record.body.is_some() => {
            list.set(condition::BACKEND_READY, true, "Reachable", "");
        }
        None => {}
    }
    up_to_date(&mut list, situation);
    if problem.is_some_and(|problem| !problem.is_transient()) {
        list.set(condition::STALLED, true, reason, &message);
    } else if !usable && !unseen {
        list.set(condition::RECONCILING, true, reason, &message);
    }
    list.finish()
}

fn up_to_date(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    let (Some(body), Some(Wanted::Build(build))) = (&situation.record.body, situation.wanted) else { return };
    if body.state != Some(State::Converted) {
        return;
    }
    if body.fingerprint == build.fingerprint {
        list.set(condition::UP_TO_DATE, true, "Built", "");
    } else {
        let words = format!(
            "it is built from generation {}; delete the Template and create it anew to have the present spec built",
            body.built_generation
        );
        list.set(condition::UP_TO_DATE, false, "SpecChanged", &words);
    }
}

/// The step to try again in, where what is about to be done failed before.
pub fn retrying(before: &TemplateStatus, record: &Record, step: Step) -> bool {
    let stalled = before.conditions.iter().any(|one| one.type_ == condition::STALLED && one.status == "True");
    let ready = before.conditions.iter().find(|one| one.type_ == condition::READY);
    let failed = ready.is_some_and(|ready| ready.status == "False" && Step::parse(&ready.reason).is_none());
    failed && !stalled && current_step(record) == step && before.step.as_deref() == Some(step.as_str())
}

/// Whether two statuses differ in anything worth a write, as the API server would store them.
pub fn differs(before: &TemplateStatus, after: &TemplateStatus) -> bool {
    serde_json::to_value(before).ok() != serde_json::to_value(after).ok()
}
