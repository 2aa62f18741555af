//! What is wrong, in one line: the reason, the words, whether somebody has to act, and one event.

use std::time::Duration;

use berth::api::Template;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    lifecycle::stage::Stage,
    support::{Namespace, eventually, objects::*},
};

/// Something that is wrong before anything is made.
pub struct Failure {
    spec: fn() -> Value,
    reason: &'static str,
    words: &'static str,
    /// Whether only a change by somebody can help.
    stalled: bool,
}

const fn failure(spec: fn() -> Value, reason: &'static str, words: &'static str, stalled: bool) -> Failure {
    Failure { spec, reason, words, stalled }
}

pub const SECRET: Failure = failure(
    || json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}),
    "SecretNotFound",
    "does not exist",
    false,
);
pub const SECRET_KEY: Failure = failure(
    || json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "some", "key": "no"}}}]}),
    "SecretKeyNotFound",
    "has no key \"no\"",
    false,
);
pub const CONFIG_MAP: Failure = failure(
    || json!({"envFrom": [{"configMapRef": {"name": "no"}}]}),
    "ConfigMapNotFound",
    "does not exist",
    false,
);
pub const RESERVED_VARIABLE: Failure = failure(
    || json!({"envFrom": [{"secretRef": {"name": "reserved"}}]}),
    "EnvironmentInvalid",
    "\"LD_PRELOAD\" of Secret",
    false,
);
pub const TEMPLATE: Failure =
    failure(|| json!({"templateRef": {"name": "no"}}), "TemplateNotFound", "/no does not exist", false);
pub const FOREIGN_TEMPLATE: Failure = failure(
    || json!({"templateRef": {"name": "base", "namespace": "default"}}),
    "TemplateForbidden",
    "are not shared",
    true,
);
pub const BACKEND: Failure =
    failure(|| json!({"backend": {"name": "no"}}), "BackendNotFound", "has no backend \"no\"", true);
pub const LIMIT: Failure = failure(
    || json!({"resources": {"memory": "64Gi"}}),
    "ResourceLimitExceeded",
    "64Gi is more than the 16Gi",
    true,
);

async fn warnings(namespace: &Namespace, name: &str) -> Vec<String> {
    let events = namespace.api::<Event>().list(&ListParams::default()).await.expect("no events");
    let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.clone());
    events
        .into_iter()
        .filter(|event| about(event).as_deref() == Some(name) && event.type_.as_deref() == Some("Warning"))
        .filter_map(|event| event.reason)
        .collect()
}

pub async fn before_anything_is_made<S: Stage>(failure: Failure) {
    says::<S>((failure.spec)(), &failure).await;
}

pub async fn host_missing<S: Stage>() {
    let failure = failure(|| json!({}), "HostNotFound", "has no host \"no\", but ", true);
    says::<S>(S::on_host("no"), &failure).await;
}

async fn says<S: Stage>(spec: Value, failure: &Failure) {
    let stage = S::open("failures", json!({})).await;
    let namespace = stage.namespace();
    secret(namespace, "some", json!({"k": "v"})).await;
    secret(namespace, "reserved", json!({"LD_PRELOAD": "x"})).await;
    // Until its Template is known, something else is wrong.
    let templates = namespace.api::<Template>();
    eventually(PATIENCE, "the Template is known", || async {
        let found = templates.get("base").await.map_err(|error| error.to_string())?;
        found.status.map(drop).ok_or_else(|| "it has no status".to_owned())
    })
    .await;
    workspace(namespace, "one", spec).await;
    let found = broken(namespace, "one", failure.reason).await;
    assert!(condition(&found, "Ready").contains(failure.words), "{}", describe(&found));
    for (type_, expected) in [("Stalled", failure.stalled), ("Reconciling", !failure.stalled)] {
        assert_eq!(condition(&found, type_).starts_with("True"), expected, "{}", describe(&found));
    }
    stage.assert_empty();
    eventually(Duration::from_secs(10), "one warning is published", || async {
        let found = warnings(namespace, "one").await;
        if found == [failure.reason] { Ok(()) } else { Err(found) }
    })
    .await;
    stage.remove().await;
    stage.close().await;
}

pub async fn what_was_missing_comes<S: Stage>() {
    let stage = S::open("recover", json!({})).await;
    let namespace = stage.namespace();
    let spec = json!({"templateRef": {"name": "late"}, "envFrom": [{"secretRef": {"name": "late"}}]});
    workspace(namespace, "one", spec).await;
    broken(namespace, "one", "TemplateNotFound").await;
    template_with(namespace, "late", S::template()).await;
    broken(namespace, "one", "SecretNotFound").await;
    secret(namespace, "late", json!({"LATE": "but here"})).await;
    let made = ready(namespace, "one").await;
    stage.assert_body(&made);
    stage.remove().await;
    stage.close().await;
}
