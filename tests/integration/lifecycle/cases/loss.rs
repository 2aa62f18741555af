//! What the operator knew, or what it made, is lost.

use berth::api::Workspace;
use serde_json::json;

use crate::{lifecycle::stage::Stage, support::objects::*};

pub async fn status_lost<S: Stage>(watched: bool) {
    let mut stage = S::open("loss", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    let before = stage.boot(&made);
    if watched {
        lose_status(stage.namespace(), "one").await;
    } else {
        stage.kill().await;
        lose_status(stage.namespace(), "one").await;
        stage.restart().await;
    }
    let again = ready(stage.namespace(), "one").await;
    assert_eq!(id_of(&again), id_of(&made));
    assert_eq!(phase_of(&again), Some("Running"), "{}", describe(&again));
    let (was, is) = (made.status.clone().unwrap_or_default(), again.status.clone().unwrap_or_default());
    assert_eq!(is.incarnation, was.incarnation);
    assert_eq!(is.resolved, was.resolved);
    assert_eq!(is.git, was.git);
    assert_eq!(stage.boot(&again), before);
    stage.assert_body(&again);
    stage.assert_work_is_kept(&again);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn status_lost_while_suspended<S: Stage>() {
    let stage = S::open("loss", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    ready(stage.namespace(), "one").await;
    let before = stage.boot(&made);
    lose_status(stage.namespace(), "one").await;
    let again = ready(stage.namespace(), "one").await;
    assert_eq!(id_of(&again), id_of(&made));
    assert_eq!(phase_of(&again), Some("Suspended"), "{}", describe(&again));
    assert_eq!(stage.boot(&again), before);
    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let resumed = ready(stage.namespace(), "one").await;
    stage.assert_work_is_kept(&resumed);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn status_lost_while_it_is_made<S: Stage>() {
    let mut stage = S::open("loss", json!({})).await;
    let reached =
        moment(stage.namespace(), "one", |workspace| step_of(workspace) == Some("StartingContainer")).await;
    stage.make().await;
    reached.await;
    stage.kill().await;
    lose_status(stage.namespace(), "one").await;
    stage.restart().await;
    let made = ready(stage.namespace(), "one").await;
    stage.assert_body(&made);
    stage.assert_inside(&made);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn status_lost_before_the_deletion<S: Stage>() {
    let mut stage = S::open("loss", json!({})).await;
    stage.made().await;
    stage.kill().await;
    lose_status(stage.namespace(), "one").await;
    delete(stage.namespace(), "one").await;
    stage.restart().await;
    gone(stage.namespace(), "one").await;
    stage.close().await;
}

/// The work of before is there, or all of it anew.
fn assert_files<S: Stage>(stage: &S, workspace: &Workspace) {
    if S::FILES_OUTLIVE_CONTAINERS {
        stage.assert_work_is_kept(workspace);
    } else {
        stage.assert_inside(workspace);
    }
}

pub async fn container_lost<S: Stage>() {
    let stage = S::open("loss", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    stage.steal_container(&made);
    let again = until(stage.namespace(), "one", "Ready with a second container", |workspace| {
        let incarnation = workspace.status.as_ref().and_then(|status| status.incarnation);
        incarnation == Some(2) && condition(workspace, "Ready").starts_with("True")
    })
    .await;
    assert_eq!(id_of(&again), id_of(&made));
    stage.assert_body(&again);
    assert_files(&stage, &again);
    assert_eq!(stage.ever_made().await, 2);
    stage.remove().await;
    stage.close().await;
}

pub async fn status_and_container_lost<S: Stage>() {
    let mut stage = S::open("loss", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    stage.kill().await;
    stage.steal_container(&made);
    lose_status(stage.namespace(), "one").await;
    stage.restart().await;
    let again = ready(stage.namespace(), "one").await;
    // By what is left of it.
    assert_eq!(id_of(&again) == id_of(&made), S::FILES_OUTLIVE_CONTAINERS);
    stage.assert_body(&again);
    assert_files(&stage, &again);
    stage.remove().await;
    stage.close().await;
}
