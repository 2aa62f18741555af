//! The end of a Workspace: from every phase, with the backend up or down, and the last ways out.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    lifecycle::stage::{Stage, spec},
    support::{Namespace, eventually, objects::*},
};

pub async fn from_every_phase<S: Stage>() {
    let stage = S::open("phases", json!({})).await;
    let namespace = stage.namespace();
    let missing = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]});
    workspace(namespace, "pending", missing).await;
    workspace(namespace, "failed", json!({"backend": {"name": "nowhere"}})).await;
    workspace(namespace, "suspended", json!({"operatingMode": "Suspended"})).await;
    workspace(namespace, "running", json!({})).await;
    broken(namespace, "pending", "SecretNotFound").await;
    broken(namespace, "failed", "BackendNotFound").await;
    phase(namespace, "suspended", "Suspended").await;
    phase(namespace, "running", "Running").await;
    for name in ["pending", "failed", "suspended", "running"] {
        delete(namespace, name).await;
    }
    for name in ["pending", "failed", "suspended", "running"] {
        gone(namespace, name).await;
    }
    stage.close().await;
}

pub async fn from_every_step<S: Stage>() {
    let stage = S::open("steps", json!({})).await;
    for step in ["CreatingContainer", "StartingContainer", "ConfiguringNetwork", "CloningRepository"] {
        let reached =
            moment(stage.namespace(), "one", move |workspace| step_of(workspace) == Some(step)).await;
        workspace(stage.namespace(), "one", spec::<S>().await).await;
        reached.await;
        stage.remove().await;
    }
    stage.close().await;
}

pub async fn retained_volumes_stay<S: Stage>() {
    let stage = S::open("retain", json!({})).await;
    workspace(stage.namespace(), "one", json!({"deletion": {"retainVolumes": true}})).await;
    let made = ready(stage.namespace(), "one").await;
    delete(stage.namespace(), "one").await;
    gone(stage.namespace(), "one").await;
    assert_eq!(stage.everything(), stage.retained(&made));
    stage.namespace().delete().await;
}

async fn ledger(namespace: &Namespace) -> BTreeMap<String, String> {
    let found = namespace.api::<ConfigMap>().get_opt("berth-ledger").await.expect("no answer");
    found.and_then(|map| map.data).unwrap_or_default()
}

async fn ledger_is_worked_off(namespace: &Namespace) {
    eventually(Duration::from_secs(30), "the ledger is worked off", || async {
        let entries = ledger(namespace).await;
        if entries.is_empty() { Ok(()) } else { Err(entries) }
    })
    .await;
}

/// Settings with which a deletion waits so long for its backend.
fn patient(deletion: &str) -> Value {
    json!({"timeouts": {"deletion": deletion, "stop": "1s"}, "orphans": {"interval": "1s"}})
}

pub async fn backend_does_not_come_back_in_time<S: Stage>() {
    let mut stage = S::open("ledger", patient("4s")).await;
    workspace(stage.namespace(), "one", json!({})).await;
    let made = ready(stage.namespace(), "one").await;
    stage.cut().await;
    delete(stage.namespace(), "one").await;
    let waiting = broken(stage.namespace(), "one", "BackendUnreachable").await;
    assert_eq!(phase_of(&waiting), Some("Terminating"));
    gone(stage.namespace(), "one").await;
    let entries = ledger(stage.namespace()).await;
    let id = id_of(&made).expect("it has an id");
    assert!(entries[&made.uid().expect("it has a uid")].contains(&id), "{entries:?}");
    // Nothing could be removed yet.
    stage.assert_body(&made);

    stage.mend().await;
    ledger_is_worked_off(stage.namespace()).await;
    assert_eq!(stage.everything(), stage.retained(&made), "the volumes are kept");
    stage.namespace().delete().await;
}

pub async fn last_ways_out<S: Stage>() {
    let mut stage = S::open("waysout", patient("10m")).await;
    for name in ["forced", "orphaned"] {
        workspace(stage.namespace(), name, json!({})).await;
    }
    let forced = ready(stage.namespace(), "forced").await;
    let orphaned = ready(stage.namespace(), "orphaned").await;
    let uids = [&forced, &orphaned].map(|workspace| workspace.uid().expect("it has a uid"));
    let [forced_uid, orphaned_uid] = &uids;
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    // Without a deletion they mean nothing.
    patch(stage.namespace(), "orphaned", annotate("berth.dev/orphan", json!(orphaned_uid))).await;
    patch(stage.namespace(), "orphaned", json!({"spec": {"env": [{"name": "A", "value": "b"}]}})).await;
    assert!(ready(stage.namespace(), "orphaned").await.metadata.deletion_timestamp.is_none());
    patch(stage.namespace(), "orphaned", annotate("berth.dev/orphan", Value::Null)).await;

    stage.cut().await;
    for name in ["forced", "orphaned"] {
        delete(stage.namespace(), name).await;
        broken(stage.namespace(), name, "BackendUnreachable").await;
        // The uid of another object does not count.
        let another = json!("00000000-0000-0000-0000-000000000000");
        patch(stage.namespace(), name, annotate("berth.dev/force", another)).await;
    }
    broken(stage.namespace(), "forced", "BackendUnreachable").await;
    patch(stage.namespace(), "forced", annotate("berth.dev/force", json!(forced_uid))).await;
    gone(stage.namespace(), "forced").await;
    assert!(ledger(stage.namespace()).await.contains_key(forced_uid));

    patch(stage.namespace(), "orphaned", annotate("berth.dev/orphan", json!(orphaned_uid))).await;
    gone(stage.namespace(), "orphaned").await;
    assert!(!ledger(stage.namespace()).await.contains_key(orphaned_uid));
    stage.mend().await;
    ledger_is_worked_off(stage.namespace()).await;
    // What was orphaned is as it was; of what was forced only the volumes are left.
    assert!(stage.is_running(&orphaned));
    let left = stage.everything();
    let kept = id_of(&orphaned).expect("it has an id");
    let others: Vec<String> = left.into_iter().filter(|name| !name.contains(&kept)).collect();
    assert_eq!(others, stage.retained(&forced));
    stage.namespace().delete().await;
}
