//! Containers whose Workspace is gone without the operator.

use berth::api::Workspace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use super::scene::{Scene, small};
use crate::support::{eventually, objects::*};

/// Makes a Workspace, and lets somebody take it away by force while no operator is there.
async fn bereaved(policy: &str) -> Scene {
    let mut scene = Scene::open().await;
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    scene.operator.kill().await;
    let api: Api<Workspace> = scene.namespace.api();
    api.delete("one", &DeleteParams::default()).await.unwrap();
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("one", &PatchParams::default(), &freed).await.unwrap();
    gone(&scene.namespace, "one").await;
    let orphans = json!({"policy": policy, "grace": "0s", "interval": "1s"});
    scene.operator.settings.config["orphans"] = orphans;
    scene.operator.restart().await;
    scene
}

/// There are files in it, so it is only let go of: `pct destroy` is for somebody who has looked.
#[tokio::test(flavor = "multi_thread")]
async fn are_stopped_and_let_go_of_where_that_is_wanted() {
    let scene = bereaved("Delete").await;
    eventually(PATIENCE, "it is let go of", || async {
        let tags = scene.cluster.value(scene.first, "tags").expect("it was removed with its files");
        if tags.contains("berth-retained") { Ok(()) } else { Err(tags) }
    })
    .await;
    assert!(!scene.cluster.simulated.runs(scene.first).await);
    let notes = scene.cluster.value(scene.first, "description").unwrap();
    assert!(notes.starts_with("Retained when ") && !notes.contains("berth-id"), "{notes}");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn are_only_reported_otherwise() {
    let scene = bereaved("Report").await;
    let before = scene.cluster.text(scene.first);
    eventually(PATIENCE, "it is reported", || async {
        let (_, metrics) = scene.operator.get("/metrics").await;
        let line =
            metrics.lines().find(|line| line.starts_with("berth_orphans{") && line.contains("ontainer"));
        match line {
            Some(line) if line.ends_with(" 1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(scene.cluster.text(scene.first), before);
    assert!(scene.cluster.simulated.runs(scene.first).await);
    scene.close().await;
}
