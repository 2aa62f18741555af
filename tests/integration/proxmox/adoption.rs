//! Containers that are there already: taken over where their administrator says so, and left alone
//! otherwise.

use std::time::Duration;

use berth::backend::proxmox::client::Change;
use serde_json::{Value, json};

use super::scene::{Scene, vmid};
use crate::support::{eventually, objects::*};

/// Outside the range that the operator gives out.
const THEIRS: u32 = 300;

fn wanted(proxmox: Value) -> Value {
    json!({"backend": {"proxmox": proxmox}, "resources": {"memory": "256Mi"}})
}

async fn marked(scene: &Scene) {
    scene
        .cluster
        .make_container(THEIRS, &format!("old machine\nberth-adopt: {}/one", scene.namespace.name))
        .await;
    let change = Change {
        tags: Some(["ann", "production"].iter().filter_map(|tag| tag.parse().ok()).collect()),
        protection: Some(true),
        ..Change::default()
    };
    scene.cluster.change(THEIRS, &change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_tags_and_notes_and_gets_the_mark() {
    let scene = Scene::open().await;
    marked(&scene).await;
    let disk = scene.cluster.value(THEIRS, "rootfs").unwrap();
    workspace(&scene.namespace, "one", wanted(json!({"vmid": THEIRS, "adoptExisting": true}))).await;
    assert_eq!(scene.running("one").await, THEIRS);
    let taken = scene.cluster.configuration(THEIRS).await.unwrap();
    let tags = taken.tags.to_string();
    for tag in ["ann", "production", "berth", "berth-id-"] {
        assert!(tags.contains(tag), "{tags}");
    }
    assert!(taken.description.starts_with("old machine\nberth-owner: "), "{}", taken.description);
    assert!(!taken.description.contains("berth-adopt"), "{}", taken.description);
    assert_eq!((taken.memory, taken.hostname.as_deref()), (Some(256), Some("one")));
    let (volume, _) = disk.split_once(',').unwrap();
    assert!(scene.cluster.value(THEIRS, "rootfs").unwrap().starts_with(volume), "it has another disk");
    assert_eq!(scene.cluster.clones(), 0);
    // It is the Workspace's from now on, protection or not.
    scene.remove("one").await;
    assert_eq!(scene.cluster.text(THEIRS), None);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_where_its_files_are_to_be_kept() {
    let scene = Scene::open().await;
    marked(&scene).await;
    let mut spec = wanted(json!({"vmid": THEIRS, "adoptExisting": true}));
    spec["deletion"] = json!({"retainVolumes": true});
    workspace(&scene.namespace, "one", spec).await;
    scene.running("one").await;
    scene.remove("one").await;
    let left = scene.cluster.configuration(THEIRS).await.unwrap();
    let tags = left.tags.to_string();
    assert!(tags.contains("ann") && tags.contains("berth-retained") && !tags.contains("berth-id-"), "{tags}");
    assert!(left.description.starts_with("old machine\nRetained when "), "{}", left.description);
    assert!(!scene.cluster.simulated.runs(THEIRS).await);
    scene.close().await;
}

/// The mark is on it, and the operator is killed before anything else is.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_taken_over_by_a_successor_of_the_operator_that_began() {
    let mut scene = Scene::open().await;
    marked(&scene).await;
    scene.cluster.slow_tasks("resize", 1, Duration::from_secs(3));
    workspace(&scene.namespace, "one", wanted(json!({"vmid": THEIRS, "adoptExisting": true}))).await;
    eventually(PATIENCE, "its disk grows", || async {
        if scene.cluster.is_at("resize") { Ok(()) } else { Err(scene.cluster.tasks()) }
    })
    .await;
    scene.operator.kill().await;
    scene.operator.restart().await;
    assert_eq!(scene.running("one").await, THEIRS);
    scene.remove("one").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_on_another_node_is_taken_over_there() {
    let scene = Scene::open().await;
    marked(&scene).await;
    scene.cluster.simulated.state().guests.get_mut(&THEIRS).unwrap().node = "pve2".to_owned();
    workspace(&scene.namespace, "one", wanted(json!({"vmid": THEIRS, "adoptExisting": true}))).await;
    assert_eq!(scene.running("one").await, THEIRS);
    scene.remove("one").await;
    assert_eq!(scene.cluster.text(THEIRS), None);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_virtual_machine_nor_a_template_nor_nothing_is_taken_over() {
    let scene = Scene::open().await;
    let notes = |name: &str| format!("berth-adopt: {}/{name}", scene.namespace.name);
    assert!(scene.cluster.take(301, &notes("machine"), true));
    assert!(scene.cluster.take(302, &notes("template"), false));
    scene.cluster.simulated.state().guests.get_mut(&302).unwrap().config.set("template", "1");
    let before = [301, 302].map(|vmid| scene.cluster.text(vmid));
    for (name, vmid, reason) in
        [("machine", 301, "NotFound"), ("template", 302, "VmidInUse"), ("nothing", 303, "NotFound")]
    {
        workspace(&scene.namespace, name, wanted(json!({"vmid": vmid, "adoptExisting": true}))).await;
        let refused = broken(&scene.namespace, name, reason).await;
        assert!(condition(&refused, "Ready").contains(&vmid.to_string()), "{}", describe(&refused));
    }
    for name in ["machine", "template", "nothing"] {
        delete(&scene.namespace, name).await;
        gone(&scene.namespace, name).await;
    }
    assert_eq!([301, 302].map(|vmid| scene.cluster.text(vmid)), before);
    for vmid in 301..=303 {
        assert_eq!(scene.cluster.changes_of(vmid), Vec::<String>::new());
    }
    scene.close().await;
}

/// One Workspace's container is not another one's, whoever asks for its VMID.
#[tokio::test(flavor = "multi_thread")]
async fn the_container_of_another_workspace_is_not_taken_over() {
    let scene = Scene::open().await;
    workspace(&scene.namespace, "one", json!({})).await;
    let taken = scene.running("one").await;
    let before = scene.cluster.text(taken);
    for adopt in [false, true] {
        let name = format!("adopt-{adopt}");
        workspace(&scene.namespace, &name, wanted(json!({"vmid": taken, "adoptExisting": adopt}))).await;
        broken(&scene.namespace, &name, "VmidInUse").await;
        delete(&scene.namespace, &name).await;
        gone(&scene.namespace, &name).await;
    }
    assert_eq!(scene.cluster.text(taken), before);
    let found = until(&scene.namespace, "one", "as it was", super::scene::is_running).await;
    assert_eq!(vmid(&found), Some(taken));
    scene.remove("one").await;
    scene.close().await;
}
