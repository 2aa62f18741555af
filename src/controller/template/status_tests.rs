//! What is said of a Template.

use rstest::rstest;

use super::{status::*, validate::Build, *};
use crate::{
    api::{ProxmoxTemplateStatus, TemplateStatus, condition},
    backend::{BackendError, BodyId, Reason, TemplatePlace},
    controller::workspace::problem::Problem,
};
use jiff::Timestamp;
use phase::{State, Step};
use record::{Record, RecordedBody};
use validate::{Subject, Wanted};

fn subject() -> Subject {
    let mut template = Template::new("t", Default::default());
    template.metadata.generation = Some(3);
    Subject::parse(&template)
}

fn built(state: Option<State>, fingerprint: &str) -> Record {
    let body = RecordedBody {
        id: BodyId::from_bytes([7; 8]),
        backend: "pve".into(),
        node: "pve1".into(),
        number: Some(500),
        storage: None,
        state,
        fingerprint: fingerprint.into(),
        built_generation: 2,
    };
    Record { body: Some(body), ..Record::default() }
}

fn wanted() -> Wanted {
    Wanted::Build(Build {
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
    })
}

fn said(before: &TemplateStatus, wanted: &Wanted, record: &Record, progress: &Progress) -> TemplateStatus {
    let place = Ok(TemplatePlace { host: "pve2".into(), storage: Some("tank".into()) });
    describe(
        before,
        &Situation {
            subject: &subject(),
            wanted: Some(wanted),
            record,
            place: Some(&place),
            is_default: true,
            rival: None,
            progress,
            now: Timestamp::UNIX_EPOCH,
        },
    )
}

fn condition_of(status: &TemplateStatus, type_: &str) -> Option<(String, String)> {
    let found = status.conditions.iter().find(|one| one.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone()))
}

fn unreachable() -> Problem {
    BackendError::new(Reason::Unreachable, "no answer").into()
}

#[rstest]
#[case::doing(Progress::Doing { step: Step::Provisioning, message: None }, "Provisioning", "False", "Provisioning")]
#[case::staging(Progress::Staging, "Staging", "False", "Staging")]
#[case::usable(Progress::Usable, "Ready", "True", "Usable")]
#[case::transient(
    Progress::Failed(Step::CreatingContainer, unreachable()),
    "Provisioning",
    "False",
    "BackendUnreachable"
)]
#[case::permanent(
    Progress::Failed(
        Step::Provisioning,
        Problem::permanent(condition::ENVIRONMENT_READY, "PackageNotFound", "E: x")
    ),
    "Failed",
    "False",
    "PackageNotFound"
)]
fn phases(#[case] progress: Progress, #[case] phase: &str, #[case] ready: &str, #[case] reason: &str) {
    let status = said(&TemplateStatus::default(), &wanted(), &built(None, "a"), &progress);
    assert_eq!(status.phase.as_deref(), Some(phase));
    assert_eq!(condition_of(&status, condition::READY), Some((ready.into(), reason.into())));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(condition_of(&status, condition::STALLED).is_some(), phase == "Failed");
}

#[rstest]
#[case::same("a", "True", "Built")]
#[case::another("b", "False", "SpecChanged")]
fn what_is_built_from_an_older_spec_stays_ready_and_says_so(
    #[case] fingerprint: &str,
    #[case] up_to_date: &str,
    #[case] reason: &str,
) {
    let record = built(Some(State::Converted), fingerprint);
    let status = said(&TemplateStatus::default(), &wanted(), &record, &Progress::Usable);
    assert_eq!(status.phase.as_deref(), Some("Ready"));
    assert_eq!(condition_of(&status, condition::UP_TO_DATE), Some((up_to_date.into(), reason.into())));
}

#[test]
fn a_cluster_that_does_not_answer_takes_nothing_from_a_ready_template() {
    let record = Record { was_ready: true, ..built(Some(State::Converted), "a") };
    let progress = Progress::Failed(Step::Ready, unreachable());
    let status = said(&TemplateStatus::default(), &wanted(), &record, &progress);
    assert_eq!(status.phase.as_deref(), Some("Ready"));
    assert_eq!(condition_of(&status, condition::READY), Some(("True".into(), "Usable".into())));
    let answers = condition_of(&status, condition::BACKEND_READY);
    assert_eq!(answers, Some(("False".into(), "BackendUnreachable".into())));
}

#[test]
fn a_template_that_is_gone_is_not_ready() {
    let record = Record { was_ready: true, ..Record::default() };
    let missing = BackendError::new(Reason::TemplateMissing, "there is no CT 900");
    let wanted = Wanted::Existing { backend: "pve".into(), vmid: 900 };
    let progress = Progress::Failed(Step::Initializing, missing.into());
    let status = said(&TemplateStatus::default(), &wanted, &record, &progress);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(
        condition_of(&status, condition::READY),
        Some(("False".into(), "TemplateImageMissing".into()))
    );
}

#[test]
fn where_an_existing_template_is() {
    let wanted = Wanted::Existing { backend: "pve".into(), vmid: 900 };
    let status = said(&TemplateStatus::default(), &wanted, &Record::default(), &Progress::Usable);
    let expected = ProxmoxTemplateStatus {
        backend: Some("pve".into()),
        vmid: Some(900),
        node: Some("pve2".into()),
        storage: Some("tank".into()),
        ..Default::default()
    };
    assert_eq!(status.proxmox, Some(expected));
}

#[test]
fn what_stands_in_a_status_is_read_again() {
    let record = built(Some(State::Cleaned), "a");
    let status = said(&TemplateStatus::default(), &wanted(), &record, &Progress::Usable);
    assert_eq!(Record::parse(Some(&status)).body, record.body);
}

#[test]
fn a_failure_stands_for_its_generation() {
    let problem = Problem::permanent(condition::ENVIRONMENT_READY, "PackageNotFound", "E: x");
    let progress = Progress::Failed(Step::Provisioning, problem);
    let status = said(&TemplateStatus::default(), &wanted(), &built(None, "a"), &progress);
    let record = Record { body: None, ..Record::parse(Some(&status)) };
    assert_eq!(record.standing, Some((Some(3), None)));
    // Once what was half made is removed, it still stands, and with its words.
    let after = said(&status, &wanted(), &Record { body: None, ..record }, &Progress::Standing);
    assert_eq!((after.proxmox, after.conditions), (None, status.conditions));
    assert_eq!(after.phase.as_deref(), Some("Failed"));
}

#[test]
fn a_second_default_is_told_so() {
    let wanted = Wanted::Image;
    let situation = Situation {
        subject: &subject(),
        wanted: Some(&wanted),
        record: &Record::default(),
        place: None,
        is_default: false,
        rival: Some("first".into()),
        progress: &Progress::Usable,
        now: Timestamp::UNIX_EPOCH,
    };
    let status = describe(&TemplateStatus::default(), &situation);
    assert_eq!(condition_of(&status, condition::READY), Some(("True".into(), "DefaultConflict".into())));
    assert_eq!((status.default, status.phase.as_deref()), (Some(false), Some("Ready")));
}
