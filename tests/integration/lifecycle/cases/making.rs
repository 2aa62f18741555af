//! From a Workspace to its container.

use berth::api::{Template, Workspace};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    lifecycle::stage::Stage,
    support::{Namespace, objects::*},
};

pub async fn becomes_ready<S: Stage>() {
    let stage = S::open("making", json!({})).await;
    let made = stage.made().await;
    assert_eq!(phase_of(&made), Some("Running"), "{}", describe(&made));
    assert_eq!(condition(&made, "Available"), "True Usable: ");
    let checkout = made.status.clone().unwrap_or_default().git.expect("it has a checkout");
    assert_eq!(checkout.branch.as_deref(), Some("main"));
    assert_eq!(checkout.head.map(|head| head.len()), Some(40));
    stage.assert_body(&made);
    stage.assert_inside(&made);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}

/// Makes the Workspace from a Template without an image: it has no container.
async fn made_without_image<S: Stage>(stage: &S, more: serde_json::Value) -> Workspace {
    correct(stage.namespace(), S::template_without_image()).await;
    stage.make_with(more).await;
    let (reason, word) = S::IMAGE_MISSING;
    let missing = broken(stage.namespace(), "one", reason).await;
    assert!(condition(&missing, "Ready").contains(word), "{}", describe(&missing));
    stage.assert_empty();
    missing
}

async fn correct(namespace: &Namespace, spec: serde_json::Value) {
    let change = Patch::Merge(json!({"spec": spec}));
    let templates = namespace.api::<Template>();
    templates.patch("base", &PatchParams::default(), &change).await.expect("the patch is refused");
}

/// An id that a Workspace had it keeps. Where nothing can be looked for on the backend without its
/// image, it had none.
fn assert_same(after: &Workspace, before: &Workspace) {
    if let Some(id) = id_of(before) {
        assert_eq!(id_of(after), Some(id));
    }
}

pub async fn corrected_template_counts<S: Stage>() {
    let stage = S::open("corrected", json!({})).await;
    let missing = made_without_image(&stage, json!({})).await;
    correct(stage.namespace(), S::template()).await;
    let made = ready(stage.namespace(), "one").await;
    assert_same(&made, &missing);
    stage.assert_body(&made);
    stage.remove().await;
    stage.close().await;
}

pub async fn place_taken_by_somebody_else<S: Stage>() {
    let stage = S::open("taken", json!({})).await;
    let waiting = made_without_image(&stage, stage.in_a_known_place()).await;
    stage.occupy(&waiting);
    correct(stage.namespace(), S::template()).await;
    let refused = broken(stage.namespace(), "one", S::PLACE_TAKEN).await;
    assert_same(&refused, &waiting);
    stage.vacate(&refused);
    patch(stage.namespace(), "one", json!({"spec": {"env": [{"name": "AGAIN", "value": "1"}]}})).await;
    let made = ready(stage.namespace(), "one").await;
    stage.assert_body(&made);
    stage.remove().await;
    stage.close().await;
}
