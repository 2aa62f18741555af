//! What is said of a Workspace, by situation.

use jiff::Timestamp;

use super::{
    fixtures::{BOOT, container, desired, power, recorded, there},
    phase::{Phase, Step},
    plan::{Observed, Settled},
    power::PowerState,
    problem::Problem,
    record::Record,
    status::{Progress, Situation, describe, differs},
};
use crate::{
    api::{Configured, WorkspaceStatus, condition},
    backend::RunState,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn record(phase: Option<Phase>) -> Record {
    let configured = Some(Configured { started_at: BOOT.into(), generation: 2, agent: None });
    Record { configured, phase, ..recorded(1) }
}

fn running() -> Observed {
    there(vec![container(RunState::Running)])
}

fn said(before: &WorkspaceStatus, record: &Record, progress: &Progress, now: Timestamp) -> WorkspaceStatus {
    let desired = desired();
    let observed = running();
    let situation = Situation {
        agent: super::status::AgentSight::NotUsed,
        worked_at: None,
        subject: &desired.subject,
        desired: Some(&desired),
        record,
        observed: &observed,
        progress,
        now,
    };
    describe(before, &situation)
}

fn failed(retry: bool) -> Progress {
    let make = if retry { Problem::transient } else { Problem::permanent };
    let problem = make(condition::CONTAINER_READY, "ImageNotFound", "no such image".to_owned()).hint("look");
    Progress::Failed { step: Step::CreatingContainer, problem }
}

fn word(status: &WorkspaceStatus, type_: &str) -> Option<String> {
    status
        .conditions
        .iter()
        .find(|one| one.type_ == type_)
        .map(|one| format!("{} {}", one.status, one.reason))
}

#[test]
fn a_ready_workspace() {
    let status = said(&Default::default(), &record(None), &Progress::Settled(Settled::Ready), at(0));
    assert_eq!((status.phase.as_deref(), status.step.as_deref()), (Some("Running"), Some("Ready")));
    assert_eq!((status.step_index, status.total_steps), (Some(8), Some(8)));
    assert_eq!(word(&status, condition::READY).unwrap(), "True Running");
    assert_eq!(word(&status, condition::AVAILABLE).unwrap(), "True Usable");
    assert_eq!((word(&status, condition::RECONCILING), word(&status, condition::STALLED)), (None, None));
    assert_eq!(status.container.unwrap().id.unwrap(), "0123456789ab");
}

#[test]
fn a_suspended_workspace_that_is_meant_to_be_is_ready_but_not_available() {
    let status = said(&Default::default(), &record(None), &Progress::Settled(Settled::Suspended), at(0));
    assert_eq!(status.phase.as_deref(), Some("Suspended"));
    assert_eq!(word(&status, condition::READY).unwrap(), "True Suspended");
    assert!(status.suspended_at.is_some());
}

#[rstest::rstest]
#[case::first_time(None, true, "Provisioning")]
#[case::after_it_ran(Some(Phase::Running), true, "Degraded")]
#[case::on_the_way_back(Some(Phase::Suspended), true, "Resuming")]
#[case::for_good(Some(Phase::Provisioning), false, "Failed")]
#[case::for_good_after_it_ran(Some(Phase::Running), false, "Degraded")]
fn the_phase_of_a_failure(#[case] before: Option<Phase>, #[case] retry: bool, #[case] expected: &str) {
    let status = said(&Default::default(), &record(before), &failed(retry), at(0));
    assert_eq!(status.phase.as_deref(), Some(expected));
    let (present, absent) = if retry {
        (condition::RECONCILING, condition::STALLED)
    } else {
        (condition::STALLED, condition::RECONCILING)
    };
    assert!(word(&status, present).is_some() && word(&status, absent).is_none());
}

#[test]
fn who_stopped_a_workspace_is_said() {
    let record = Record { power: Some(power(PowerState::Suspended)), ..record(None) };
    let status = said(&Default::default(), &record, &Progress::Settled(Settled::Suspended), at(0));
    let ready = status.conditions.iter().find(|one| one.type_ == condition::READY).unwrap();
    assert_eq!(ready.message, "stopped on request of ada; its files are kept");
    assert_eq!(Record::parse(Some(&status)).power, record.power);
}

#[rstest::rstest]
#[case::one_that_ran(Some(Phase::Running), "Resuming")]
#[case::one_that_never_did(Some(Phase::Provisioning), "Provisioning")]
fn a_workspace_that_is_being_restarted(#[case] before: Option<Phase>, #[case] expected: &str) {
    let status = said(&Default::default(), &record(before), &Progress::Restarting, at(0));
    assert_eq!(status.phase.as_deref(), Some(expected));
    assert_eq!(word(&status, condition::READY).unwrap(), "False Restarting");
    assert_eq!(word(&status, condition::AVAILABLE).unwrap(), "False Restarting");
}

#[test]
fn a_failure_says_what_why_and_what_to_do() {
    let status = said(&Default::default(), &record(None), &failed(true), at(0));
    let ready = status.conditions.iter().find(|one| one.type_ == condition::READY).unwrap();
    assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("ImageNotFound", "no such image (look)"));
    assert_eq!(word(&status, condition::CONTAINER_READY).unwrap(), "False ImageNotFound");
    let error = status.error.unwrap();
    assert_eq!((error.step.as_str(), error.retryable), ("CreatingContainer", true));
}

#[test]
fn nothing_changes_while_nothing_changes() {
    let first = said(&Default::default(), &record(Some(Phase::Running)), &failed(true), at(0));
    let second = said(&first, &record(Some(Phase::Degraded)), &failed(true), at(100));
    assert!(!differs(&first, &second), "{first:#?} {second:#?}");
}

#[test]
fn a_retry_leaves_the_failure_standing() {
    let first = said(&Default::default(), &record(None), &failed(true), at(0));
    let retrying = Progress::Retrying { step: Step::CreatingContainer };
    let second = said(&first, &record(Some(Phase::Provisioning)), &retrying, at(100));
    assert!(!differs(&first, &second));
}

#[test]
fn a_condition_keeps_the_time_of_its_last_change() {
    let first = said(&Default::default(), &record(None), &Progress::Settled(Settled::Ready), at(0));
    let second = said(&first, &record(None), &failed(true), at(100));
    let since = |status: &WorkspaceStatus, type_: &str| {
        status.conditions.iter().find(|one| one.type_ == type_).unwrap().last_transition_time.0
    };
    assert_eq!(since(&second, condition::BACKEND_READY), at(0));
    assert_eq!(since(&second, condition::READY), at(100));
}

#[test]
fn an_update_of_the_agent_that_was_given_up_is_said_where_the_agent_is() {
    let desired = desired();
    let observed = running();
    let agent = berth_link::wire::AgentInfo {
        version: "1".into(),
        protocol: 1,
        supervisor_version: None,
        build: Some("aaaaaaaaaaaa".into()),
        failed_update: Some(berth_link::wire::FailedUpdate {
            build: "bbbbbbbbbbbb".into(),
            message: "it does not go on running\n\x1b[31mExec format error".into(),
        }),
        boot_id: "b".into(),
        started_at: at(0),
        user: "dev".into(),
    };
    let situation = Situation {
        agent: super::status::AgentSight::Linked(agent),
        subject: &desired.subject,
        desired: Some(&desired),
        record: &record(None),
        observed: &observed,
        worked_at: None,
        progress: &Progress::Settled(Settled::Ready),
        now: at(0),
    };
    let status = describe(&WorkspaceStatus::default(), &situation);
    assert_eq!(word(&status, condition::AGENT_CONNECTED).unwrap(), "True Connected");
    let connected = status.conditions.iter().find(|one| one.type_ == condition::AGENT_CONNECTED).unwrap();
    assert_eq!(
        connected.message,
        "its update to build bbbbbbbbbbbb was given up: it does not go on running [31mExec format error"
    );
    let agent = status.agent.unwrap();
    assert_eq!(agent.build.as_deref(), Some("aaaaaaaaaaaa"));
    assert_eq!(agent.failed_update.unwrap().build, "bbbbbbbbbbbb");
}
