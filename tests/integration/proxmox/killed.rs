//! The operator is killed in the middle of a conversation with the cluster. Its successor goes on,
//! and there is one container in the end.

use std::time::Duration;

use rstest::rstest;

use super::scene::{Scene, small, vmid};
use crate::support::{
    eventually,
    objects::*,
    proxmox::{Cluster, Effect, TEMPLATE},
};

/// Longer than a test takes.
const NEVER: u64 = 600_000;
/// Long enough for a kill and a new start in between.
const LONG: Duration = Duration::from_secs(3);

/// Waits for a moment of the cluster.
async fn moment_of(cluster: &Cluster, what: &str, is_now: impl Fn(&Cluster) -> bool) {
    eventually(PATIENCE, what, || async { if is_now(cluster) { Ok(()) } else { Err(cluster.tasks()) } })
        .await;
}

/// What goes wrong or takes long, and the moment at which the operator is killed.
struct Moment {
    plan: fn(&Cluster, u32),
    is_now: fn(&Cluster, u32) -> bool,
}

const CLONE: &str = "/nodes/pve1/lxc/500/clone";

fn config_of(vmid: u32) -> String {
    format!("/nodes/pve1/lxc/{vmid}/config")
}

/// The clone goes on, but the answer to the request was lost.
const CLONE_ANSWER_LOST: Moment = Moment {
    plan: |cluster, _| {
        cluster.slow_tasks("vzclone", 1, LONG);
        cluster.fault("POST", CLONE, 1, Effect::Lose { reason: "Connection timed out".to_owned() });
    },
    is_now: |cluster, _| cluster.is_at("vzclone"),
};
/// The clone goes on.
const CLONING: Moment = Moment {
    plan: |cluster, _| cluster.slow_tasks("vzclone", 1, LONG),
    is_now: |cluster, _| cluster.is_at("vzclone"),
};
/// The clone is made, and has nothing of its own yet but the mark.
const CLONED: Moment = Moment {
    plan: |cluster, first| {
        cluster.fault("PUT", &config_of(first), 1, Effect::Delay { milliseconds: NEVER });
    },
    is_now: |cluster, first| cluster.clones() == 1 && cluster.value(first, "tags").is_none(),
};
/// Its disk is being grown.
const GROWING: Moment = Moment {
    plan: |cluster, _| cluster.slow_tasks("resize", 1, LONG),
    is_now: |cluster, _| cluster.is_at("resize"),
};
/// It has everything but its tags.
const WITHOUT_TAGS: Moment = Moment {
    plan: |cluster, first| {
        cluster.fault("PUT", &format!("/nodes/pve1/lxc/{first}/resize"), 1, {
            Effect::Answer { status: 500, reason: "unable to shrink disk size".to_owned() }
        });
        cluster.fault("PUT", &config_of(first), 1, Effect::Delay { milliseconds: 0 });
        cluster.fault("PUT", &config_of(first), 1, Effect::Delay { milliseconds: NEVER });
    },
    is_now: |cluster, first| {
        let asked = cluster.changes_of(first).iter().any(|call| call.ends_with("/resize"));
        asked && cluster.value(first, "memory").as_deref() == Some("256")
    },
};
/// It is being started.
const STARTING: Moment = Moment {
    plan: |cluster, _| cluster.slow_tasks("vzstart", 1, LONG),
    is_now: |cluster, _| cluster.is_at("vzstart"),
};

#[rstest]
#[case::clone_answer_lost(CLONE_ANSWER_LOST)]
#[case::cloning(CLONING)]
#[case::cloned(CLONED)]
#[case::growing(GROWING)]
#[case::without_tags(WITHOUT_TAGS)]
#[case::starting(STARTING)]
#[tokio::test(flavor = "multi_thread")]
async fn while_it_makes_a_container(#[case] moment: Moment) {
    let mut scene = Scene::open().await;
    (moment.plan)(&scene.cluster, scene.first);
    workspace(&scene.namespace, "one", small()).await;
    moment_of(&scene.cluster, "the moment comes", |cluster| (moment.is_now)(cluster, scene.first)).await;
    scene.operator.kill().await;
    scene.cluster.simulated.faults.clear();
    scene.operator.restart().await;
    assert_eq!(scene.running("one").await, scene.first);
    scene.has_one_container("one").await;
    scene.remove("one").await;
    scene.close().await;
}

#[rstest]
#[case::shutting_down("vzshutdown")]
#[case::destroying("vzdestroy")]
#[tokio::test(flavor = "multi_thread")]
async fn while_it_removes_a_container(#[case] task: &str) {
    let mut scene = Scene::open().await;
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    scene.cluster.slow_tasks(task, 1, LONG);
    delete(&scene.namespace, "one").await;
    moment_of(&scene.cluster, task, |cluster| cluster.is_at(task)).await;
    scene.operator.kill().await;
    scene.operator.restart().await;
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.cluster.text(scene.first), None);
    assert_eq!(scene.cluster.clones(), 1);
    scene.close().await;
}

/// Notes of a container that has the Workspace's VMID and is not its own.
enum Foreign {
    Anybodys,
    /// Of the same Workspace, but of another creation.
    AnotherCreation,
    /// Of the same creation, says the mark, but of another operator.
    AnotherOperator,
}

#[rstest]
#[case(Foreign::Anybodys)]
#[case(Foreign::AnotherCreation)]
#[case(Foreign::AnotherOperator)]
#[tokio::test(flavor = "multi_thread")]
async fn before_the_clone_and_somebody_takes_the_vmid(#[case] foreign: Foreign) {
    let mut scene = Scene::open().await;
    // The VMID is written down, and nothing is made.
    let nobody = Effect::Answer { status: 595, reason: "Connection refused".to_owned() };
    scene.cluster.fault("POST", CLONE, 1000, nobody);
    workspace(&scene.namespace, "one", small()).await;
    let reserved = until(&scene.namespace, "one", "given a VMID", |found| vmid(found).is_some()).await;
    assert_eq!(vmid(&reserved), Some(scene.first));
    broken(&scene.namespace, "one", "BackendUnreachable").await;
    scene.operator.kill().await;

    let (id, uid) = (id_of(&reserved).expect("an id"), reserved.metadata.uid.expect("a uid"));
    let mark = |id: &str, instance: &str| {
        let owner = format!("berth-owner: {}/one\nberth-uid: {uid}", scene.namespace.name);
        format!("{owner}\nberth-id: {id}\nberth-incarnation: 1\nberth-instance: {instance}")
    };
    let notes = match foreign {
        Foreign::Anybodys => "Ann's".to_owned(),
        Foreign::AnotherCreation => mark("ffffffffffffffff", scene.operator.instance()),
        Foreign::AnotherOperator => mark(&id, "another"),
    };
    assert!(scene.cluster.take(scene.first, &notes, false));
    let before = scene.cluster.text(scene.first);
    scene.cluster.simulated.faults.clear();
    scene.operator.restart().await;
    assert_eq!(scene.running("one").await, scene.first + 1);
    assert_eq!(scene.cluster.text(scene.first), before);
    assert_eq!(scene.cluster.clones(), 1);
    delete(&scene.namespace, "one").await;
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.cluster.text(scene.first), before);
    assert_eq!(scene.cluster.text(scene.first + 1), None);
    assert_eq!(scene.cluster.changes_of(scene.first), Vec::<String>::new());
    assert_eq!(scene.cluster.value(TEMPLATE, "lock"), None);
    scene.close().await;
}
