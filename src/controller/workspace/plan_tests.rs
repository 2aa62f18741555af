//! The plan as a table: what is wanted, written down and there, and what comes next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    OPERATION_CLONE,
    agent::Expected,
    fixtures::{BOOT, container, desired, power, recorded, subject, there},
    phase::{Phase, Step},
    plan::*,
    power::PowerState,
    record::{Record, StandingError},
    validate::{CredentialRef, DeletionRequest, Desired, DesiredRepository, Subject, WayOut},
};
use crate::{
    api::{Configured, GitStatus, OperatingMode, Operation},
    backend::{BackendError, Body, Container, Incarnation, Reason, RunState},
    provision::RemoteUrl,
};

fn now() -> Timestamp {
    BOOT.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(5)
}

fn limits() -> Limits {
    Limits { ip: Duration::from_secs(30), deletion: Duration::from_secs(600) }
}

fn with_repository() -> Desired {
    let repository = DesiredRepository {
        url: RemoteUrl::parse("https://example.com/a.git").unwrap(),
        branch: None,
        depth: None,
        submodules: false,
        credential: CredentialRef::None,
        known_hosts: None,
    };
    Desired { repository: Some(repository), ..desired() }
}

fn suspended() -> Desired {
    Desired { mode: OperatingMode::Suspended, ..desired() }
}

fn seen() -> Record {
    Record { container_seen: true, seen_boot: Some(BOOT.into()), ..recorded(1) }
}

fn set_up() -> Record {
    Record { configured: Some(Configured { started_at: BOOT.into(), generation: 2, agent: None }), ..seen() }
}

fn cloning() -> Record {
    let job = Operation {
        kind: OPERATION_CLONE.into(),
        handle: clone_handle("clone-1", BOOT),
        started_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()),
    };
    Record { clone_job: Some(job), ..set_up() }
}

fn cloned() -> Record {
    Record { git: Some(GitStatus::default()), ..set_up() }
}

fn one(state: RunState) -> Observed {
    there(vec![container(state)])
}

fn planned(desired: &Desired, record: &Record, observed: &Observed) -> Plan {
    plan(desired, record, observed, Search::NotNeeded, &Expected::NONE, limits(), now())
}

#[rstest::rstest]
#[case::a_place_is_chosen_first(desired(), Record::default(), Observed::Nothing, Plan::Assign)]
#[case::then_the_container_is_made(desired(), recorded(1), there(vec![]), Plan::CreateContainer)]
#[case::then_started(desired(), seen(), one(RunState::Created), Plan::StartContainer { crash: None })]
#[case::then_set_up(desired(), seen(), one(RunState::Running), Plan::Configure)]
#[case::then_it_is_ready(desired(), set_up(), one(RunState::Running), Plan::Settled(Settled::Ready))]
#[case::or_cloned_into(with_repository(), set_up(), one(RunState::Running), Plan::StartClone)]
#[case::the_clone_is_watched(with_repository(), cloning(), one(RunState::Running), Plan::WatchClone)]
#[case::and_then_it_is_ready(
    with_repository(),
    cloned(),
    one(RunState::Running),
    Plan::Settled(Settled::Ready)
)]
#[case::a_lost_container_gets_a_new_name(desired(), set_up(), there(vec![]), Plan::NextIncarnation)]
#[case::a_dead_one_is_removed(desired(), seen(), one(RunState::Dead), Plan::RemoveContainer(Incarnation(1)))]
#[case::an_older_one_is_removed(
    desired(),
    recorded(2),
    one(RunState::Running),
    Plan::RemoveContainer(Incarnation(1))
)]
#[case::suspending_stops(suspended(), set_up(), one(RunState::Running), Plan::Stop)]
#[case::stopped_is_suspended(suspended(), set_up(), one(RunState::Exited), Plan::Settled(Settled::Suspended))]
#[case::never_made_is_suspended_too(suspended(), recorded(1), there(vec![]), Plan::Settled(Settled::Suspended))]
fn the_next_action(
    #[case] desired: Desired,
    #[case] record: Record,
    #[case] observed: Observed,
    #[case] expected: Plan,
) {
    assert_eq!(planned(&desired, &record, &observed), expected);
}

fn asked_to_restart(mode: OperatingMode, nonce: Option<&str>) -> Desired {
    Desired { mode, restart_nonce: nonce.map(str::to_owned), ..desired() }
}

#[rstest::rstest]
#[case::a_new_nonce_stops_the_container(OperatingMode::Running, Some("2"), RunState::Running, Plan::Restart)]
#[case::a_paused_one_too(OperatingMode::Running, Some("2"), RunState::Paused, Plan::Restart)]
#[case::once_it_is_stopped_that_is_noted(
    OperatingMode::Running,
    Some("2"),
    RunState::Exited,
    Plan::NoteRestart
)]
#[case::the_same_nonce_stops_nothing(
    OperatingMode::Running,
    Some("1"),
    RunState::Running,
    Plan::Settled(Settled::Ready)
)]
#[case::neither_does_taking_it_away(OperatingMode::Running, None, RunState::Running, Plan::NoteRestart)]
#[case::a_suspended_one_only_notes_it(
    OperatingMode::Suspended,
    Some("2"),
    RunState::Exited,
    Plan::NoteRestart
)]
#[case::and_stops_for_good(OperatingMode::Suspended, Some("2"), RunState::Running, Plan::NoteRestart)]
fn the_next_action_of_a_restart(
    #[case] mode: OperatingMode,
    #[case] nonce: Option<&str>,
    #[case] state: RunState,
    #[case] expected: Plan,
) {
    let record = Record { restart_nonce: Some("1".into()), ..set_up() };
    assert_eq!(planned(&asked_to_restart(mode, nonce), &record, &one(state)), expected);
}

#[rstest::rstest]
#[case::a_stop_stops(PowerState::Suspended, RunState::Running, Plan::Stop)]
#[case::and_keeps_it_stopped(PowerState::Suspended, RunState::Exited, Plan::Settled(Settled::Suspended))]
#[case::a_restart_stops(PowerState::Restarting, RunState::Running, Plan::Restart)]
#[case::once_it_is_stopped_that_is_noted(PowerState::Restarting, RunState::Exited, Plan::NoteRestart)]
#[case::a_start_changes_nothing_in_one_that_runs(
    PowerState::Running,
    RunState::Running,
    Plan::Settled(Settled::Ready)
)]
fn the_next_action_after_a_command(
    #[case] state: PowerState,
    #[case] container: RunState,
    #[case] expected: Plan,
) {
    let record = Record { power: Some(power(state)), phase: Some(Phase::Suspended), ..set_up() };
    assert_eq!(planned(&desired(), &record, &one(container)), expected);
}

#[test]
fn a_start_starts_what_was_stopped() {
    let record =
        Record { power: Some(power(PowerState::Running)), phase: Some(Phase::Suspended), ..set_up() };
    assert_eq!(planned(&desired(), &record, &one(RunState::Exited)), Plan::StartContainer { crash: None });
}

#[test]
fn a_suspended_operating_mode_wins_over_a_start() {
    let record = Record { power: Some(power(PowerState::Running)), ..set_up() };
    assert_eq!(planned(&suspended(), &record, &one(RunState::Running)), Plan::Stop);
}

#[test]
fn a_restart_gets_a_failed_workspace_going_again() {
    let record =
        Record { standing: Some(StandingError { generation: Some(2), retry_nonce: None }), ..set_up() };
    let desired = asked_to_restart(OperatingMode::Running, Some("1"));
    assert_eq!(planned(&desired, &record, &there(vec![])), Plan::NoteRestart);
    assert_eq!(planned(&desired, &record, &one(RunState::Running)), Plan::Restart);
}

#[test]
fn nothing_is_made_before_the_finalizer() {
    let mut desired = desired();
    desired.subject.has_finalizer = false;
    assert_eq!(planned(&desired, &Record::default(), &Observed::Nothing), Plan::AddFinalizer);
}

#[test]
fn a_lost_status_is_searched_for_on_the_backend() {
    let plan = plan(
        &desired(),
        &Record::default(),
        &Observed::Nothing,
        Search::Needed,
        &Expected::NONE,
        limits(),
        now(),
    );
    assert_eq!(plan, Plan::Find);
}

#[test]
fn a_newer_container_than_written_down_is_adopted() {
    let newer = Container { incarnation: Incarnation(3), ..container(RunState::Running) };
    assert_eq!(planned(&desired(), &recorded(2), &there(vec![newer])), Plan::Adopt(Incarnation(3)));
}

#[test]
fn a_restart_sets_up_anew() {
    let rebooted =
        Container { started_at: Some("2026-01-02T00:00:00Z".into()), ..container(RunState::Running) };
    assert_eq!(planned(&desired(), &cloned(), &there(vec![rebooted])), Plan::Configure);
}

#[test]
fn a_changed_spec_sets_up_anew() {
    let mut desired = desired();
    desired.subject.generation = 3;
    assert_eq!(planned(&desired, &set_up(), &one(RunState::Running)), Plan::Configure);
}

#[test]
fn a_clone_job_does_not_outlive_its_boot() {
    let rebooted = "2026-01-02T00:00:00Z";
    let container = Container { started_at: Some(rebooted.into()), ..container(RunState::Running) };
    let record = Record {
        configured: Some(Configured { started_at: rebooted.into(), generation: 2, agent: None }),
        ..cloning()
    };
    assert_eq!(planned(&with_repository(), &record, &there(vec![container])), Plan::StartClone);
}

#[rstest::rstest]
#[case::a_boot_that_ran(Some(Phase::Running), true)]
#[case::one_that_was_stopped_on_request(Some(Phase::Suspended), false)]
#[case::one_that_is_being_resumed(Some(Phase::Resuming), false)]
fn a_crash_is_told_from_a_stop(#[case] phase: Option<Phase>, #[case] expected: bool) {
    let record = Record { phase, ..set_up() };
    let plan = planned(&desired(), &record, &one(RunState::Exited));
    assert!(matches!(&plan, Plan::StartContainer { crash } if crash.is_some() == expected), "{plan:?}");
}

#[test]
fn no_address_is_waited_for_and_then_reported() {
    let without = Container { ip: None, ..container(RunState::Running) };
    let observed = there(vec![without]);
    assert!(matches!(
        planned(&desired(), &seen(), &observed),
        Plan::Wait { step: Step::ConfiguringNetwork, .. }
    ));
    let later = now() + SignedDuration::from_secs(60);
    let plan = plan(&desired(), &seen(), &observed, Search::NotNeeded, &Expected::NONE, limits(), later);
    assert!(
        matches!(plan, Plan::Blocked(Step::ConfiguringNetwork, problem) if problem.reason == "IpTimeout")
    );
}

#[test]
fn an_unreachable_backend_blocks_and_makes_nothing() {
    let down = Observed::Failed(BackendError::new(Reason::Unreachable, "connection refused"));
    for record in [recorded(1), set_up(), cloned()] {
        assert!(matches!(
            planned(&desired(), &record, &down),
            Plan::Blocked(_, problem) if problem.reason == "BackendUnreachable" && problem.is_transient()
        ));
    }
}

#[test]
fn a_permanent_failure_stands_until_something_changes() {
    let standing = |generation| Some(StandingError { generation: Some(generation), retry_nonce: None });
    let record = Record { standing: standing(2), ..set_up() };
    assert_eq!(planned(&with_repository(), &record, &one(RunState::Running)), Plan::Stalled);
    let changed = Record { standing: standing(1), ..set_up() };
    assert_eq!(planned(&with_repository(), &changed, &one(RunState::Running)), Plan::StartClone);
    let mut retried = with_repository();
    retried.subject.retry_nonce = Some("again".into());
    assert_eq!(planned(&retried, &record, &one(RunState::Running)), Plan::StartClone);
}

#[test]
fn provisioning_ends_at_its_deadline() {
    let record = Record {
        provision_deadline: Some(now() - SignedDuration::from_secs(1)),
        last_message: Some("pulling".into()),
        step: Some(Step::CreatingContainer),
        ..recorded(1)
    };
    let Plan::Blocked(step, problem) = planned(&desired(), &record, &there(vec![])) else {
        panic!("it goes on")
    };
    assert_eq!((step, problem.reason), (Step::CreatingContainer, "ProvisionTimeout"));
    assert_eq!(problem.message, "not Ready within 10m; it hung in CreatingContainer: pulling");
    assert!(!problem.is_transient());
}

fn deleting(seconds_ago: i64, way_out: Option<WayOut>) -> Subject {
    let since = now() - SignedDuration::from_secs(seconds_ago);
    Subject { deletion: Some(DeletionRequest { since, retain_volumes: false, way_out }), ..subject() }
}

fn down() -> Observed {
    Observed::Failed(BackendError::new(Reason::Unreachable, "down"))
}

fn gone() -> Observed {
    Observed::Body(Body::default())
}

#[rstest::rstest]
#[case::what_is_there_is_removed(deleting(1, None), one(RunState::Running), "Remove")]
#[case::then_the_object_goes(deleting(1, None), gone(), "Release")]
#[case::a_backend_that_is_down_is_waited_for(deleting(1, None), down(), "Wait")]
#[case::but_not_for_ever(deleting(601, None), down(), "Ledger")]
#[case::and_not_when_forced(deleting(1, Some(WayOut::Force)), down(), "Ledger")]
#[case::force_still_removes_what_it_can(deleting(1, Some(WayOut::Force)), one(RunState::Running), "Remove")]
#[case::an_orphan_is_left_alone(deleting(1, Some(WayOut::Orphan)), one(RunState::Running), "Release")]
fn the_next_action_of_a_deletion(
    #[case] subject: Subject,
    #[case] observed: Observed,
    #[case] expected: &str,
) {
    let plan = plan_deletion(&subject, &set_up(), &observed, None, limits(), now());
    assert!(format!("{plan:?}").starts_with(expected), "{plan:?}");
}

#[test]
fn a_deletion_searches_for_a_body_whose_id_was_lost() {
    let subject = deleting(1, None);
    let none = Record::default();
    let next = |searched: Option<&Result<(), BackendError>>| {
        plan_deletion(&subject, &none, &Observed::Nothing, searched, limits(), now())
    };
    assert_eq!(next(None), DeletionPlan::Find);
    assert_eq!(next(Some(&Ok(()))), DeletionPlan::Release);
    let failed = Err(BackendError::new(Reason::Unreachable, "down"));
    assert!(matches!(next(Some(&failed)), DeletionPlan::Wait(_)));
}

#[test]
fn retained_volumes_do_not_keep_the_object() {
    let mut subject = deleting(1, None);
    subject.deletion.as_mut().unwrap().retain_volumes = true;
    let volumes_only = Observed::Body(Body { volumes: vec!["v".into()], ..Default::default() });
    let plan = plan_deletion(&subject, &set_up(), &volumes_only, None, limits(), now());
    assert_eq!(plan, DeletionPlan::Release);
}
