//! What a container has beside its life: the device for VPNs, a disk, and name resolution that its
//! host leaves alone. Nothing of it keeps a Workspace from being Ready once its container is made.
//! Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::{
        WorkspaceStatus,
        condition::{ConditionList, DISK_READY, DNS_PROTECTED, TUN_CONFIGURED},
    },
    backend::Container,
    config::Bytes,
    controller::events::Notice,
    provision::ResolvConf,
};

use super::status::Situation;

const DISK_NOT_GROWN: &str = "DiskNotGrown";

/// Keeps these conditions as they were, while the container can not be looked at.
pub(super) fn keep(list: &mut ConditionList<'_>) {
    for type_ in [TUN_CONFIGURED, DISK_READY, DNS_PROTECTED] {
        list.keep(type_);
    }
}

/// Sets those that apply.
pub(super) fn set(list: &mut ConditionList<'_>, situation: &Situation<'_>, container: Option<&Container>) {
    if let Some(container) = container {
        device(list, situation, container);
        disk(list, situation, container);
        name_resolution(list, situation);
    }
}

fn device(list: &mut ConditionList<'_>, situation: &Situation<'_>, container: &Container) {
    match situation.desired.map(|desired| desired.infrastructure.tun) {
        None => list.keep(TUN_CONFIGURED),
        Some(false) => {}
        Some(true) if container.has_tun => list.set(TUN_CONFIGURED, true, "DevicePresent", ""),
        Some(true) => list.set(
            TUN_CONFIGURED,
            false,
            "DeviceMissing",
            "the container was made before its Template asked for /dev/net/tun; give it the device on its host and restart it, or make the workspace anew",
        ),
    }
}

fn disk(list: &mut ConditionList<'_>, situation: &Situation<'_>, container: &Container) {
    let body = situation.record.body.as_ref();
    let Some(wanted) = body.and_then(|body| body.resolved.disk) else { return };
    match container.disk_bytes {
        None => list.keep(DISK_READY),
        Some(found) if is_large_enough(found, wanted) => list.set(DISK_READY, true, "LargeEnough", ""),
        Some(found) => {
            let message = format!(
                "the file system has {} MiB, and {wanted} are asked for: the disk could not be grown; the log of the task on its host says why",
                found >> 20
            );
            list.set(DISK_READY, false, DISK_NOT_GROWN, &message);
        }
    }
}

/// A file system is smaller than its disk: it keeps some of it for itself.
fn is_large_enough(found: u64, wanted: Bytes) -> bool {
    found >= wanted.0 - wanted.0 / 10
}

/// What was reached when the container was last set up stands until it is set up again.
fn name_resolution(list: &mut ConditionList<'_>, situation: &Situation<'_>) {
    match situation.record.resolv_conf {
        Some(ResolvConf::LeftToHost) => {}
        Some(ResolvConf::Immutable) => list.set(DNS_PROTECTED, true, "Immutable", ""),
        Some(ResolvConf::Changeable) => list.set(
            DNS_PROTECTED,
            true,
            "HostKeptOut",
            "root in the container can change /etc/resolv.conf: the file could not be made immutable there",
        ),
        None if situation.record.configured.is_some() => list.keep(DNS_PROTECTED),
        None => {}
    }
}

/// The news that something is less than what was asked for, once for each.
pub(super) fn notices(before: &WorkspaceStatus, after: &WorkspaceStatus) -> Vec<Notice> {
    let missed = [TUN_CONFIGURED, DISK_READY].into_iter().filter_map(|type_| {
        let now = failing(after, type_)?;
        let known = failing(before, type_).is_some_and(|known| known.reason == now.reason);
        // A failure has an event of its own.
        let is_failure = after.error.as_ref().is_some_and(|error| error.reason == now.reason);
        (!known && !is_failure).then(|| Notice {
            warning: true,
            reason: now.reason.clone(),
            note: now.message.clone(),
        })
    });
    missed.collect()
}

fn failing<'a>(status: &'a WorkspaceStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "False")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;

    use super::*;
    use crate::{
        api::Configured,
        backend::{Infrastructure, RunState},
        controller::workspace::{
            fixtures::{BOOT, container, desired, recorded, there},
            plan::Settled,
            record::Record,
            status::{AgentSight, Progress, describe},
            validate::Desired,
        },
    };

    fn said(
        before: &WorkspaceStatus,
        desired: &Desired,
        record: &Record,
        container: Container,
    ) -> WorkspaceStatus {
        let situation = Situation {
            agent: AgentSight::NotUsed,
            worked_at: None,
            subject: &desired.subject,
            desired: Some(desired),
            record,
            observed: &there(vec![container]),
            progress: &Progress::Settled(Settled::Ready),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        describe(before, &situation)
    }

    fn word(status: &WorkspaceStatus, type_: &str) -> Option<String> {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some(format!("{} {}", found.status, found.reason))
    }

    fn record(resolv_conf: Option<ResolvConf>, disk: Option<u64>) -> Record {
        let configured = Some(Configured { started_at: BOOT.into(), generation: 2, agent: None });
        let mut record = Record { configured, resolv_conf, ..recorded(1) };
        if let Some(body) = &mut record.body {
            body.resolved.disk = disk.map(Bytes);
        }
        record
    }

    #[rstest]
    #[case::not_asked_for(false, false, None)]
    #[case::there_all_the_same(false, true, None)]
    #[case::given(true, true, Some("True DevicePresent"))]
    #[case::asked_for_too_late(true, false, Some("False DeviceMissing"))]
    fn the_device(#[case] tun: bool, #[case] has_tun: bool, #[case] expected: Option<&str>) {
        let desired = Desired { infrastructure: Infrastructure { tun, ..Default::default() }, ..desired() };
        let container = Container { has_tun, ..container(RunState::Running) };
        let status = said(&Default::default(), &desired, &record(None, None), container);
        assert_eq!(word(&status, TUN_CONFIGURED).as_deref(), expected);
        assert_eq!(word(&status, "Ready").as_deref(), Some("True Running"));
    }

    #[rstest]
    #[case::no_disk_of_its_own(None, Some(4 << 30), None)]
    #[case::as_asked_for(Some(4 << 30), Some(4 << 30), Some("True LargeEnough"))]
    #[case::less_what_the_file_system_takes(Some(4 << 30), Some(3900 << 20), Some("True LargeEnough"))]
    #[case::larger(Some(4 << 30), Some(8 << 30), Some("True LargeEnough"))]
    #[case::not_grown(Some(4 << 30), Some(2 << 30), Some("False DiskNotGrown"))]
    #[case::not_known(Some(4 << 30), None, None)]
    fn the_disk(#[case] wanted: Option<u64>, #[case] found: Option<u64>, #[case] expected: Option<&str>) {
        let container = Container { disk_bytes: found, ..container(RunState::Running) };
        let status = said(&Default::default(), &desired(), &record(None, wanted), container);
        assert_eq!(word(&status, DISK_READY).as_deref(), expected);
        let notices = notices(&Default::default(), &status);
        assert_eq!(notices.len(), usize::from(expected == Some("False DiskNotGrown")));
        assert!(notices.iter().all(|notice| notice.warning && notice.note.contains("2048 MiB, and 4Gi")));
        assert!(super::notices(&status, &status).is_empty(), "it is told once");
    }

    #[test]
    fn what_was_seen_of_a_disk_stands_while_it_can_not_be_seen() {
        let record = record(None, Some(4 << 30));
        let small = Container { disk_bytes: Some(2 << 30), ..container(RunState::Running) };
        let before = said(&Default::default(), &desired(), &record, small);
        let after = said(&before, &desired(), &record, container(RunState::Exited));
        assert_eq!(word(&after, DISK_READY).as_deref(), Some("False DiskNotGrown"));
    }

    #[rstest]
    #[case(ResolvConf::LeftToHost, None)]
    #[case(ResolvConf::Changeable, Some("True HostKeptOut"))]
    #[case(ResolvConf::Immutable, Some("True Immutable"))]
    fn name_resolution_stands_until_it_is_set_up_again(
        #[case] reached: ResolvConf,
        #[case] expected: Option<&str>,
    ) {
        let running = || container(RunState::Running);
        let first = said(&Default::default(), &desired(), &record(Some(reached), None), running());
        assert_eq!(word(&first, DNS_PROTECTED).as_deref(), expected);
        let later = said(&first, &desired(), &record(None, None), running());
        assert_eq!(word(&later, DNS_PROTECTED).as_deref(), expected);
        let host = record(Some(ResolvConf::LeftToHost), None);
        assert_eq!(word(&said(&later, &desired(), &host, running()), DNS_PROTECTED), None);
        let anew = Record { configured: None, ..record(None, None) };
        assert_eq!(word(&said(&later, &desired(), &anew, running()), DNS_PROTECTED), None);
    }
}
