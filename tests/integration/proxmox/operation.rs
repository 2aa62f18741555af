//! The cluster's own task, told by the status while it is waited for.

use std::time::Duration;

use super::scene::{Scene, small};
use crate::support::objects::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_under_way_is_told_by_its_task() {
    let scene = Scene::open().await;
    scene.cluster.slow_tasks("vzclone", 1, Duration::from_secs(4));
    workspace(&scene.namespace, "one", small()).await;
    let cloning = until(&scene.namespace, "one", "said to wait for a task", |found| {
        found.status.as_ref().is_some_and(|status| status.operation.is_some())
    })
    .await;
    let operation = cloning.status.unwrap().operation.unwrap();
    assert_eq!(operation.kind, "Create");
    assert!(operation.handle.starts_with("UPID:pve1:"), "{operation:?}");
    assert!(operation.handle.contains(":vzclone:500:"), "{operation:?}");

    scene.running("one").await;
    until(&scene.namespace, "one", "said to wait for no task", |found| {
        found.status.as_ref().is_some_and(|status| status.operation.is_none())
    })
    .await;
    scene.remove("one").await;
    scene.close().await;
}
