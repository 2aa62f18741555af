//! What is done next, for each situation that a building can be in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rstest::rstest;

use super::*;
use crate::{
    api::{Operation, Template},
    backend::{BodyId, Incarnation, Reason},
};

const BOOT: &str = "boot-1";

fn build() -> Build {
    Build {
        backend: "pve".into(),
        os_template: "debian-12-standard".into(),
        node: None,
        storage: None,
        packages: Vec::new(),
        user: "dev".into(),
        nesting: true,
        tun: false,
        staging: false,
        fingerprint: "a".into(),
    }
}

fn subject() -> Subject {
    let mut template = Template::new("t", Default::default());
    template.metadata.generation = Some(2);
    template.metadata.finalizers = Some(vec![crate::api::FINALIZER.to_owned()]);
    Subject::parse(&template)
}

fn record(state: Option<State>) -> Record {
    let body = RecordedBody {
        id: BodyId::from_bytes([7; 8]),
        backend: "pve".into(),
        node: "pve1".into(),
        number: Some(500),
        storage: None,
        state,
        fingerprint: "a".into(),
        built_generation: 2,
    };
    Record { body: Some(body), ..Record::default() }
}

fn begun(mut record: Record, kind: &str, handle: &str, minutes: i64) -> Record {
    record.operation = Some(Operation {
        kind: kind.into(),
        handle: handle.into(),
        started_at: Time(now() - jiff::SignedDuration::from_mins(minutes)),
    });
    record
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn container(state: RunState, ip: bool) -> Observed {
    let container = Container {
        id: "500".into(),
        name: "t".into(),
        incarnation: Incarnation::FIRST,
        state,
        exit_code: None,
        out_of_memory: false,
        ip: ip.then(|| "10.0.0.2".parse().unwrap()),
        started_at: (state == RunState::Running).then(|| BOOT.to_owned()),
        running_for: Some(Duration::from_secs(5)),
        has_tun: false,
        disk_bytes: None,
    };
    Observed::Body(Body { containers: vec![container], ..Body::default() })
}

fn planned_with(build: &Build, record: &Record, observed: &Observed, place: Option<bool>) -> Plan {
    let place = place.map(|there| match there {
        true => Ok(TemplatePlace { host: "pve1".into(), storage: None }),
        false => Err(BackendError::new(Reason::TemplateMissing, "none")),
    });
    plan(
        &Wanted::Build(build.clone()),
        Facts {
            subject: &subject(),
            record,
            observed,
            place: place.as_ref(),
            search: Search::NotNeeded,
            limits: Limits { ip: Duration::from_secs(60), deletion: Duration::from_secs(60) },
            now: now(),
        },
    )
}

fn planned(record: &Record, observed: &Observed) -> Plan {
    planned_with(&build(), record, observed, None)
}

#[rstest]
#[case::nothing_there(None, Observed::Body(Body::default()), Plan::Create)]
#[case::half_made(None, Observed::Body(Body { unfinished: true, ..Body::default() }), Plan::Create)]
#[case::made(None, container(RunState::Exited, false), Plan::Start)]
#[case::started(None, container(RunState::Running, false), Plan::AwaitAddress)]
#[case::reachable(None, container(RunState::Running, true), Plan::StartProvisioning)]
#[case::provisioned(Some(State::Provisioned), container(RunState::Running, true), Plan::Clean)]
#[case::stopped_before_it_was_clean(
    Some(State::Provisioned),
    container(RunState::Exited, false),
    Plan::Start
)]
#[case::clean(Some(State::Cleaned), container(RunState::Exited, false), Plan::Convert)]
#[case::started_again_after_that(Some(State::Cleaned), container(RunState::Running, true), Plan::Clean)]
#[case::lost_on_the_way(Some(State::Provisioned), Observed::Body(Body::default()), Plan::BeginAnew)]
fn one_step_after_the_other(
    #[case] state: Option<State>,
    #[case] observed: Observed,
    #[case] expected: Plan,
) {
    assert_eq!(planned(&record(state), &observed), expected);
}

#[rstest]
#[case::this_boot("template-1@boot-1", 5, Plan::WatchProvisioning)]
#[case::a_boot_before("template-1@boot-0", 5, Plan::StartProvisioning)]
fn the_job_of_a_boot_is_watched(#[case] handle: &str, #[case] minutes: i64, #[case] expected: Plan) {
    let record = begun(record(None), OPERATION_PROVISION, handle, minutes);
    assert_eq!(planned(&record, &container(RunState::Running, true)), expected);
}

#[test]
fn a_job_that_hangs_is_given_up() {
    let record = begun(record(None), OPERATION_PROVISION, "template-1@boot-1", 61);
    let plan = planned(&record, &container(RunState::Running, true));
    assert!(
        matches!(&plan, Plan::Blocked(_, problem) if problem.reason == "ProvisionTimeout" && !problem.is_transient()),
        "{plan:?}"
    );
}

#[test]
fn what_was_cleaned_is_stopped_on_the_same_boot_only() {
    let running = container(RunState::Running, true);
    let cleaned = begun(record(Some(State::Cleaned)), OPERATION_CLEAN, BOOT, 1);
    assert_eq!(planned(&cleaned, &running), Plan::Stop);
    let earlier = begun(record(Some(State::Cleaned)), OPERATION_CLEAN, "boot-0", 1);
    assert_eq!(planned(&earlier, &running), Plan::Clean);
}

#[rstest]
#[case(RunState::Running, Plan::Stage)]
#[case(RunState::Exited, Plan::Start)]
fn staging_keeps_it_running(#[case] state: RunState, #[case] expected: Plan) {
    let build = Build { staging: true, ..build() };
    let observed = container(state, true);
    assert_eq!(planned_with(&build, &record(Some(State::Provisioned)), &observed, None), expected);
}

#[rstest]
#[case::begun(None, Plan::Discard)]
#[case::with_work_in_it(Some(State::Provisioned), Plan::Clean)]
fn another_spec_begins_anew_while_nobodys_work_is_in_it(
    #[case] state: Option<State>,
    #[case] expected: Plan,
) {
    let build = Build { fingerprint: "b".into(), ..build() };
    assert_eq!(planned_with(&build, &record(state), &container(RunState::Running, true), None), expected);
}

#[test]
fn what_is_built_stays_usable_whatever_the_spec_says_now() {
    let build = Build { fingerprint: "b".into(), ..build() };
    let built = record(Some(State::Converted));
    let observed = container(RunState::Exited, false);
    assert_eq!(planned_with(&build, &built, &observed, Some(true)), Plan::Usable);
    let failed = Record { standing: Some((Some(2), None)), ..built };
    assert_eq!(planned_with(&build, &failed, &observed, Some(true)), Plan::Usable);
}

#[rstest]
#[case::no_template(container(RunState::Exited, false), Some(false))]
#[case::no_container(Observed::Body(Body::default()), None)]
fn a_template_that_went_away_is_missed_and_not_made_anew(
    #[case] observed: Observed,
    #[case] place: Option<bool>,
) {
    let plan = planned_with(&build(), &record(Some(State::Converted)), &observed, place);
    assert!(
        matches!(&plan, Plan::Blocked(_, problem) if problem.reason == "TemplateImageMissing" && problem.is_transient()),
        "{plan:?}"
    );
}

#[rstest]
#[case::failed(Some((Some(2), None)), true, Plan::Discard)]
#[case::failed_and_removed(Some((Some(2), None)), false, Plan::Stalled)]
#[case::an_earlier_spec_failed(Some((Some(1), None)), true, Plan::Discard)]
#[case::an_earlier_spec_failed_and_is_removed(Some((Some(1), None)), false, Plan::Assign)]
#[case::to_be_tried_again(Some((Some(2), Some("x".to_owned()))), false, Plan::Assign)]
fn what_failed_is_removed_and_not_tried_again_by_itself(
    #[case] standing: Option<(Option<i64>, Option<String>)>,
    #[case] has_body: bool,
    #[case] expected: Plan,
) {
    let body = record(None).body.filter(|_| has_body);
    let record = Record { body, standing, ..Record::default() };
    assert_eq!(planned(&record, &container(RunState::Running, true)), expected);
}

#[test]
fn another_backend_is_refused() {
    let build = Build { backend: "other".into(), ..build() };
    let plan = planned_with(&build, &record(Some(State::Converted)), &Observed::Nothing, None);
    assert!(matches!(&plan, Plan::Blocked(_, problem) if problem.reason == "SpecChanged"), "{plan:?}");
}

#[test]
fn the_number_is_written_down_before_anything_is_made() {
    let mut record = record(None);
    record.body.as_mut().unwrap().number = None;
    assert_eq!(planned(&record, &Observed::Body(Body::default())), Plan::Reserve);
}
