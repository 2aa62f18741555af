//! The operator is killed in the middle of its work, and its successor goes on.

use berth::api::Workspace;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    lifecycle::stage::Stage,
    support::{Namespace, objects::*},
};

/// How often a step may be over before the operator is dead.
const TRIES: usize = 12;

async fn get(namespace: &Namespace) -> Option<Workspace> {
    namespace.api::<Workspace>().get_opt("one").await.expect("no answer")
}

/// Does something, and kills the operator at the moment that follows. Returns whether that moment
/// still was when the operator was dead.
async fn killed_when<S: Stage>(
    stage: &mut S,
    is_in: impl Fn(&Workspace) -> bool + Copy,
    act: impl AsyncFnOnce(&S),
) -> bool {
    let reached = moment(stage.namespace(), "one", is_in).await;
    act(stage).await;
    reached.await;
    stage.kill().await;
    get(stage.namespace()).await.as_ref().is_some_and(is_in)
}

pub async fn killed_in<S: Stage>(wanted: &'static str) {
    let mut stage = S::open("crash", json!({})).await;
    // Before anything is said, the only trace of the first step is the finalizer.
    let is_in = move |workspace: &Workspace| match step_of(workspace) {
        None => wanted == "Initializing" && !workspace.finalizers().is_empty(),
        Some(step) => step == wanted,
    };
    for attempt in 1..=TRIES {
        let was_hit = killed_when(&mut stage, is_in, S::make).await;
        stage.restart().await;
        let made = ready(stage.namespace(), "one").await;
        assert_eq!(phase_of(&made), Some("Running"), "{}", describe(&made));
        stage.assert_body(&made);
        stage.assert_inside(&made);
        assert_eq!(stage.ever_made().await, attempt, "one container for each workspace");
        stage.remove().await;
        if was_hit {
            return stage.close().await;
        }
    }
    panic!("in {TRIES} tries {wanted} was always over before the operator was dead");
}

pub async fn killed_while_suspending<S: Stage>() {
    let mut stage = S::open("crash", json!({})).await;
    let is_in = |workspace: &Workspace| phase_of(workspace) == Some("Suspending");
    let made = stage.made().await;
    for _ in 0..TRIES {
        let was_hit = killed_when(&mut stage, is_in, async |stage: &S| {
            patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
        })
        .await;
        stage.restart().await;
        let suspended = ready(stage.namespace(), "one").await;
        assert_eq!(phase_of(&suspended), Some("Suspended"), "{}", describe(&suspended));
        assert!(!stage.is_running(&suspended));
        patch(stage.namespace(), "one", json!({"spec": {"operatingMode": "Running"}})).await;
        let resumed = ready(stage.namespace(), "one").await;
        assert_eq!(phase_of(&resumed), Some("Running"), "{}", describe(&resumed));
        assert_eq!(id_of(&resumed), id_of(&made));
        stage.assert_body(&resumed);
        stage.assert_inside(&resumed);
        assert_eq!(stage.ever_made().await, 1);
        if was_hit {
            stage.remove().await;
            return stage.close().await;
        }
    }
    panic!("in {TRIES} tries it was always suspended before the operator was dead");
}

pub async fn killed_while_removing<S: Stage>() {
    let mut stage = S::open("crash", json!({})).await;
    let is_in = |workspace: &Workspace| phase_of(workspace) == Some("Terminating");
    for attempt in 1..=TRIES {
        stage.made().await;
        let was_hit = killed_when(&mut stage, is_in, async |stage: &S| {
            delete(stage.namespace(), "one").await;
        })
        .await;
        stage.restart().await;
        gone(stage.namespace(), "one").await;
        stage.assert_empty();
        assert_eq!(stage.ever_made().await, attempt, "one container for each workspace");
        if was_hit {
            return stage.close().await;
        }
    }
    panic!("in {TRIES} tries it was always gone before the operator was dead");
}
