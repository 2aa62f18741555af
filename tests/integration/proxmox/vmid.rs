//! VMIDs that a Workspace names itself.

use serde_json::{Value, json};

use crate::support::{
    Namespace, Operator, Settings, control_plane,
    objects::*,
    proxmox::{Cluster, TEMPLATE, cluster},
};

/// A VMID that no operator gives out, for each test another.
async fn scene(vmid: u32, notes: &str) -> (&'static Cluster, Operator, Namespace) {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-vmid").await;
    let backends = json!([cluster.backend(cluster.port())]);
    let operator = Operator::start(Settings::new(plane.kubeconfig(), &namespace.name, backends)).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    cluster.make_container(vmid, &notes.replace("NAMESPACE", &namespace.name)).await;
    (cluster, operator, namespace)
}

fn wanted(proxmox: Value) -> Value {
    json!({"backend": {"proxmox": proxmox}, "resources": {"memory": "256Mi"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_somebody_elses_is_left_alone() {
    let (cluster, _operator, namespace) = scene(300, "Ann's").await;
    workspace(&namespace, "one", wanted(json!({"vmid": 300}))).await;
    let refused = broken(&namespace, "one", "VmidInUse").await;
    assert!(
        condition(&refused, "Ready").contains("CT 300 belongs to something else"),
        "{}",
        describe(&refused)
    );
    patch(&namespace, "one", json!({"spec": {"backend": {"proxmox": {"adoptExisting": true}}}})).await;
    until(&namespace, "one", "refused for want of a mark", |found| {
        condition(found, "Ready").contains("no line berth-adopt: ")
    })
    .await;
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(cluster.configuration(300).await.unwrap().description, "Ann's");
    cluster.destroy(300).await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_marked_for_it_is_taken_over() {
    let (cluster, _operator, namespace) = scene(301, "old machine\nberth-adopt: NAMESPACE/one").await;
    workspace(&namespace, "one", wanted(json!({"vmid": 301, "adoptExisting": true}))).await;
    let made = ready(&namespace, "one").await;
    assert_eq!(made.status.unwrap().resolved.unwrap().vmid, Some(301));
    let notes = cluster.configuration(301).await.unwrap().description;
    assert!(notes.starts_with("old machine\nberth-owner: ") && !notes.contains("berth-adopt"), "{notes}");
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert!(cluster.configuration(301).await.is_none());
    namespace.delete().await;
}
