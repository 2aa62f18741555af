//! Answers that are lost, tasks that fail, and a cluster that shows what was: the Workspace gets
//! there all the same, and has one container.

use rstest::rstest;
use serde_json::json;

use super::scene::{Scene, small, vmid};
use crate::support::{
    objects::*,
    proxmox::{Clock, Effect},
};

fn lost() -> Effect {
    Effect::Lose { reason: "Connection timed out".to_owned() }
}

/// Makes a Workspace, suspends and resumes it, and removes it.
async fn lives(scene: Scene) {
    let vmid = scene.running("one").await;
    scene.has_one_container("one").await;
    suspend(&scene).await;
    assert!(!scene.cluster.simulated.runs(vmid).await);
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    assert_eq!(scene.running("one").await, vmid);
    scene.has_one_container("one").await;
    scene.remove("one").await;
    scene.close().await;
}

async fn suspend(scene: &Scene) {
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    until(&scene.namespace, "one", "suspended", |found| {
        phase_of(found) == Some("Suspended") && condition(found, "Ready").starts_with("True")
    })
    .await;
}

#[rstest]
#[case::clone("POST", "/nodes/pve1/lxc/500/clone")]
#[case::settings("PUT", "/nodes/pve1/lxc/1000/config")]
#[case::disk("PUT", "/nodes/pve1/lxc/1000/resize")]
#[case::start("POST", "/nodes/pve1/lxc/1000/status/start")]
#[case::shutdown("POST", "/nodes/pve1/lxc/1000/status/shutdown")]
#[case::removal("DELETE", "/nodes/pve1/lxc/1000")]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_lost_and_the_work_goes_on(#[case] method: &str, #[case] path: &str) {
    let scene = Scene::open().await;
    assert_eq!(scene.first, 1000);
    scene.cluster.fault(method, path, 1, lost());
    workspace(&scene.namespace, "one", small()).await;
    lives(scene).await;
}

#[rstest]
#[case::clone("vzclone", "storage 'local-lvm': no space left on device")]
#[case::start("vzstart", "startup for container '1000' failed")]
#[tokio::test(flavor = "multi_thread")]
async fn a_task_fails_once_and_the_status_says_why(#[case] task: &str, #[case] words: &'static str) {
    let scene = Scene::open().await;
    scene.cluster.failing_task(task, words);
    let says_why = moment(&scene.namespace, "one", |found| condition(found, "Ready").contains(words)).await;
    workspace(&scene.namespace, "one", small()).await;
    says_why.await;
    lives(scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_fails_once_and_is_tried_again() {
    let scene = Scene::open().await;
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    let words = "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout";
    scene.cluster.failing_task("vzdestroy", words);
    let says_why =
        moment(&scene.namespace, "one", |found| condition(found, "Ready").contains("can't lock file")).await;
    delete(&scene.namespace, "one").await;
    says_why.await;
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.cluster.text(scene.first), None);
    scene.close().await;
}

/// The overview shows what a container does only every 3 s, and until then what the one before it at
/// the same VMID did.
#[tokio::test(flavor = "multi_thread")]
async fn a_vmid_is_used_again_while_the_cluster_shows_who_had_it_before() {
    let slow = Clock { work: 0.3, patience: 1.0 };
    let scene =
        Scene::with(slow, |pve| pve["vmids"]["workspaces"] = json!({"first": 1000, "last": 1000})).await;
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    delete(&scene.namespace, "one").await;
    workspace(&scene.namespace, "two", small()).await;
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.running("two").await, scene.first);
    let notes = scene.cluster.configuration(scene.first).await.unwrap().description;
    assert!(notes.contains(&format!("berth-owner: {}/two", scene.namespace.name)), "{notes}");
    assert_eq!(scene.cluster.value(scene.first, "hostname").as_deref(), Some("two"));
    assert_eq!(scene.cluster.clones(), 2);
    let found = until(&scene.namespace, "two", "numbered", |found| vmid(found).is_some()).await;
    assert_eq!(vmid(&found), Some(scene.first));
    delete(&scene.namespace, "two").await;
    gone(&scene.namespace, "two").await;
    assert_eq!(scene.cluster.text(scene.first), None);
    scene.close().await;
}
