//! A disk that is less than what was asked for.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;

use super::{least, on_the_shared_cluster, remove, vmid_of};
use crate::support::{
    eventually,
    objects::*,
    proxmox::{Effect, TEMPLATE},
};

#[rstest::rstest]
#[case::the_disk(false)]
#[case::its_file_system(true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_grow_is_said_and_keeps_nothing_from_being_ready(#[case] disk_grows: bool) {
    let (cluster, operator, namespace) =
        on_the_shared_cluster("pve-disk", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    let vmid = &operator.settings.config["backends"][0]["proxmox"]["vmids"]["workspaces"]["first"];
    if disk_grows {
        cluster.failing_task_of("resize", &vmid.to_string(), "resize2fs: bad magic number");
    } else {
        let refusal = Effect::Answer { status: 500, reason: "no space left in the pool".to_owned() };
        cluster.fault("PUT", &format!("/nodes/pve1/lxc/{vmid}/resize"), u32::MAX, refusal);
    }
    workspace(&namespace, "small", least(json!({}))).await;
    let small = ready(&namespace, "small").await;
    assert_eq!(json!(vmid_of(&small)), *vmid);
    let disk = condition(&small, "DiskReady");
    assert!(disk.starts_with("False DiskNotGrown: the file system has 2048 MiB, and 4Gi are"), "{disk}");
    let told = eventually(PATIENCE, "a warning is published", || async {
        let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
        let warnings = events.items.into_iter().filter(|event| event.type_.as_deref() == Some("Warning"));
        let warnings: Vec<_> = warnings.filter_map(|event| event.reason).collect();
        if warnings.is_empty() { Err(warnings) } else { Ok(warnings) }
    })
    .await;
    assert_eq!(told, ["DiskNotGrown"]);
    remove(&namespace, "small").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_grows_to_what_is_asked_for() {
    let (cluster, _operator, namespace) =
        on_the_shared_cluster("pve-disk", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    workspace(&namespace, "one", least(json!({"resources": {"disk": "6Gi"}}))).await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "DiskReady"), "True LargeEnough: ");
    let rootfs = cluster.configuration(vmid_of(&made)).await.unwrap().rootfs.unwrap();
    assert_eq!(rootfs.size, Some(6 << 30));
    remove(&namespace, "one").await;
    namespace.delete().await;
}
