//! Locks that nobody holds any more: the status says which one and how it is cleared, and the
//! Workspace goes on when it is.

use std::time::Duration;

use berth::api::Workspace;
use serde_json::json;

use super::scene::{Scene, small};
use crate::support::{
    eventually,
    objects::*,
    proxmox::{CLOCK, TEMPLATE},
};

/// A scene whose operator waits only for a moment until it says that something is locked.
async fn scene() -> Scene {
    Scene::with(CLOCK, |pve| pve["taskTimeout"] = json!("2s")).await
}

/// Waits until the status says what holds a container, and what to do about it.
async fn says(scene: &Scene, vmid: u32, lock: &str) -> Workspace {
    let (subject, cure) =
        (format!("CT {vmid} on pve1 is locked ({lock})"), format!("`pct unlock {vmid}` on pve1"));
    until(&scene.namespace, "one", "said to be locked", |found| {
        let ready = condition(found, "Ready");
        ready.starts_with("False ContainerLocked: ") && ready.contains(&subject) && ready.contains(&cure)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_template() {
    let scene = scene().await;
    scene.cluster.lock(TEMPLATE, "disk");
    workspace(&scene.namespace, "one", small()).await;
    says(&scene, TEMPLATE, "disk").await;
    scene.cluster.unlock(TEMPLATE).await;
    scene.running("one").await;
    scene.has_one_container("one").await;
    scene.remove("one").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_container_that_is_to_start_and_of_one_that_is_to_go() {
    let scene = scene().await;
    workspace(&scene.namespace, "one", small()).await;
    let vmid = scene.running("one").await;
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    phase(&scene.namespace, "one", "Suspended").await;
    scene.cluster.lock(vmid, "backup");
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    says(&scene, vmid, "backup").await;
    assert!(!scene.cluster.simulated.runs(vmid).await);
    scene.cluster.unlock(vmid).await;
    scene.running("one").await;

    scene.cluster.lock(vmid, "snapshot");
    delete(&scene.namespace, "one").await;
    let waiting = until(&scene.namespace, "one", "kept by the lock", |found| {
        condition(found, "Ready").contains(&format!("CT {vmid} on pve1 is locked (snapshot)"))
    })
    .await;
    assert_eq!(phase_of(&waiting), Some("Terminating"), "{}", describe(&waiting));
    assert!(scene.cluster.simulated.runs(vmid).await, "it is not stopped before it can be removed");
    scene.cluster.unlock(vmid).await;
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.cluster.text(vmid), None);
    scene.close().await;
}

/// The worker of the clone is killed on its node: both containers stay locked, and when somebody takes
/// the locks away there is a container without a disk.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_clone_that_was_killed_on_its_node() {
    let scene = scene().await;
    scene.cluster.slow_tasks("vzclone", 1, Duration::from_secs(60));
    workspace(&scene.namespace, "one", small()).await;
    eventually(PATIENCE, "it is cloned", || async {
        if scene.cluster.is_at("vzclone") { Ok(()) } else { Err(scene.cluster.tasks()) }
    })
    .await;
    scene.cluster.kill_tasks("vzclone");
    says(&scene, scene.first, "create").await;
    for vmid in [TEMPLATE, scene.first] {
        scene.cluster.unlock(vmid).await;
    }
    scene.running("one").await;
    scene.has_one_container("one").await;
    scene.remove("one").await;
    scene.close().await;
}
