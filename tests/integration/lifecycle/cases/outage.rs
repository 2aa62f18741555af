//! The backend goes away and comes back.

use std::time::{Duration, Instant};

use berth::api::Workspace;
use serde_json::json;

use crate::{lifecycle::stage::Stage, support::objects::*};

/// From the backend's return to the end of what waited for it.
const RECOVERY: Duration = Duration::from_secs(15);

async fn says_unreachable<S: Stage>(stage: &S) -> Workspace {
    let seen = broken(stage.namespace(), "one", "BackendUnreachable").await;
    let backend = condition(&seen, "BackendReady");
    assert!(backend.starts_with("False BackendUnreachable: "), "{}", describe(&seen));
    seen
}

pub async fn comes_and_goes<S: Stage>() {
    let mut stage = S::open("outage", json!({})).await;
    let made = stage.made().await;
    let before = stage.boot(&made);
    stage.cut().await;
    let seen = says_unreachable(&stage).await;
    assert_eq!(phase_of(&seen), Some("Degraded"), "{}", describe(&seen));

    let back = Instant::now();
    stage.mend().await;
    let again = ready(stage.namespace(), "one").await;
    assert!(back.elapsed() < RECOVERY, "it took {:?}", back.elapsed());
    assert_eq!(condition(&again, "BackendReady"), "True Reachable: ");
    assert_eq!(stage.boot(&again), before);
    stage.assert_body(&again);
    stage.assert_inside(&again);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn while_it_is_made<S: Stage>() {
    let mut stage = S::open("outage", json!({})).await;
    let reached =
        moment(stage.namespace(), "one", |workspace| step_of(workspace) == Some("CreatingContainer")).await;
    stage.make().await;
    reached.await;
    stage.cut().await;
    says_unreachable(&stage).await;

    let back = Instant::now();
    stage.mend().await;
    let made = ready(stage.namespace(), "one").await;
    assert!(back.elapsed() < S::MAKING, "it took {:?}", back.elapsed());
    stage.assert_body(&made);
    stage.assert_inside(&made);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn over_at_once<S: Stage>() {
    let mut stage = S::open("outage", json!({})).await;
    let made = stage.made().await;
    stage.cut().await;
    stage.mend().await;
    // What happens after it is seen as before.
    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    phase(stage.namespace(), "one", "Suspended").await;
    assert!(!stage.is_running(&made));
    patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let again = ready(stage.namespace(), "one").await;
    stage.assert_body(&again);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn operator_starts_in_it<S: Stage>() {
    let mut stage = S::open("outage", json!({})).await;
    let reached =
        moment(stage.namespace(), "one", |workspace| step_of(workspace) == Some("StartingContainer")).await;
    stage.make().await;
    reached.await;
    stage.kill().await;
    stage.cut().await;
    stage.restart().await;
    says_unreachable(&stage).await;
    stage.mend().await;
    let made = ready(stage.namespace(), "one").await;
    stage.assert_body(&made);
    stage.assert_inside(&made);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

pub async fn deletion_in_it<S: Stage>() {
    let mut stage = S::open("outage", json!({})).await;
    let made = stage.made().await;
    stage.cut().await;
    delete(stage.namespace(), "one").await;
    let waits = until(stage.namespace(), "one", "said to wait for the backend", |workspace| {
        condition(workspace, "BackendReady").starts_with("False BackendUnreachable: ")
            && phase_of(workspace) == Some("Terminating")
    })
    .await;
    assert_eq!(id_of(&waits), id_of(&made));
    stage.assert_body(&made);

    let back = Instant::now();
    stage.mend().await;
    gone(stage.namespace(), "one").await;
    assert!(back.elapsed() < RECOVERY, "it took {:?}", back.elapsed());
    stage.close().await;
}
