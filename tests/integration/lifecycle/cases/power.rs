//! On and off: by the spec, by itself, and by others.

use berth::api::Workspace;
use serde_json::json;

use crate::{lifecycle::stage::Stage, support::objects::*};

pub async fn suspended_and_resumed<S: Stage>() {
    let stage = S::open("power", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    let before = stage.boot(&made);
    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    let suspended = ready(stage.namespace(), "one").await;
    assert!(condition(&suspended, "Ready").starts_with("True Suspended"), "{}", describe(&suspended));
    assert!(condition(&suspended, "Available").starts_with("False Suspended"), "{}", describe(&suspended));
    assert!(!stage.is_running(&suspended));
    stage.assert_body(&suspended);

    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let resumed = ready(stage.namespace(), "one").await;
    assert_eq!(phase_of(&resumed), Some("Running"), "{}", describe(&resumed));
    assert_ne!(stage.boot(&resumed), before);
    assert_eq!(stage.ever_made().await, 1);
    stage.assert_work_is_kept(&resumed);
    stage.remove().await;
    stage.close().await;
}

/// Waits until the Workspace is Ready on another boot than that of `before`.
async fn ready_anew<S: Stage>(stage: &S, before: &Workspace) -> Workspace {
    let boot = |workspace: &Workspace| workspace.status.clone().unwrap_or_default().container?.started_at;
    let before = boot(before);
    until(stage.namespace(), "one", "Ready on a new boot", |workspace| {
        boot(workspace) != before && condition(workspace, "Ready").starts_with("True")
    })
    .await
}

/// The same container, set up again.
async fn assert_anew<S: Stage>(stage: S, made: &Workspace) {
    let again = ready_anew(&stage, made).await;
    assert_eq!(id_of(&again), id_of(made));
    assert_eq!(again.status.clone().unwrap_or_default().incarnation, Some(1));
    assert_eq!(phase_of(&again), Some("Running"), "{}", describe(&again));
    stage.assert_body(&again);
    stage.assert_work_is_kept(&again);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn ends_by_itself<S: Stage>() {
    let stage = S::open("power", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    stage.end_container(&made);
    assert_anew(stage, &made).await;
}

pub async fn restarted_by_others<S: Stage>() {
    let stage = S::open("power", json!({})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    stage.restart_container(&made);
    assert_anew(stage, &made).await;
}

pub async fn restarted_on_request<S: Stage>() {
    let stage = S::open("power", json!({"timeouts": {"stop": "1s"}})).await;
    let made = stage.made().await;
    stage.leave_work(&made);
    patch(stage.namespace(), "one", json!({"spec": {"restartNonce": "first"}})).await;
    assert_anew(stage, &made).await;
}
