//! What is wrong, in one line: the reason, the words, whether somebody has to act, and one event.

use berth::api::Workspace;
use k8s_openapi::api::events::v1::Event;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane, eventually, git_server, objects::*,
};

async fn warnings(namespace: &Namespace, name: &str) -> Vec<String> {
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.clone());
    events
        .into_iter()
        .filter(|event| about(event).as_deref() == Some(name) && event.type_.as_deref() == Some("Warning"))
        .filter_map(|event| event.reason)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_that_hangs_is_given_up_and_can_be_tried_again() {
    let plane = control_plane().await;
    let namespace = plane.namespace("hang").await;
    let mut settings = Settings::docker(plane.kubeconfig(), &namespace.name);
    settings.config["timeouts"] = json!({"provision": "6s"});
    let _docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    // Nobody is there to answer: every try is refused, and tried again.
    workspace(&namespace, "one", json!({"repository": {"url": "http://127.0.0.1:9/a.git"}})).await;
    let given_up = broken(&namespace, "one", "ProvisionTimeout").await;
    let said = condition(&given_up, "Ready");
    assert!(said.contains("not Ready within 6s; it hung in CloningRepository"), "{said}");
    assert!(condition(&given_up, "Stalled").starts_with("True ProvisionTimeout"), "{}", describe(&given_up));
    assert_eq!(given_up.status.unwrap().phase.as_deref(), Some("Failed"));
    let url = git_server().await.public("sample");
    patch(&namespace, "one", json!({"spec": {"repository": {"url": url}}})).await;
    ready(&namespace, "one").await;
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_writes_no_spec_and_nothing_at_rest() {
    let plane = control_plane().await;
    let namespace = plane.namespace("manners").await;
    let mut settings = Settings::docker(plane.kubeconfig(), &namespace.name);
    settings.config["controller"]["resync"] = json!("1s");
    let _docker = Docker::of(&settings.instance);
    let operator = Operator::start(settings).await;
    template(&namespace).await;
    let url = git_server().await.public("sample");
    workspace(&namespace, "one", json!({"repository": {"url": url}})).await;
    let made = ready(&namespace, "one").await;
    let ours: Vec<Value> = made
        .managed_fields()
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some("berth"))
        .map(|entry| entry.fields_v1.as_ref().unwrap().0.clone())
        .collect();
    assert_eq!(ours.len(), 2, "the finalizer and the status: {ours:?}");
    for fields in &ours {
        assert!(fields.get("f:spec").is_none(), "{fields}");
        let metadata = fields.get("f:metadata").cloned().unwrap_or_else(|| json!({"f:finalizers": {}}));
        assert_eq!(metadata.as_object().unwrap().keys().collect::<Vec<_>>(), ["f:finalizers"]);
    }
    let mut bare: Workspace = made.clone();
    bare.metadata.managed_fields = None;
    let size = serde_json::to_string(&bare).unwrap().len();
    assert!(size < 4096, "{size} bytes at rest");

    let passes = |metrics: String| -> u64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("berth_reconciles_total{kind=\"Workspace\",result=\"Ok\"}"));
        line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or_default()
    };
    let settled = namespace.api::<Workspace>().get("one").await.unwrap().resource_version();
    let before = passes(operator.get("/metrics").await.1);
    eventually(Duration::from_secs(20), "five more passes", || async {
        let now = passes(operator.get("/metrics").await.1);
        if now >= before + 5 { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(namespace.api::<Workspace>().get("one").await.unwrap().resource_version(), settled);
    let (_, metrics) = operator.get("/metrics").await;
    for line in [
        "berth_workspaces{phase=\"Running\"} 1",
        "berth_leader 1",
        "berth_host_up{backend=\"docker\",host=\"local\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    for name in
        ["berth_step_duration_seconds", "berth_backend_calls_total", "berth_reconcile_duration_seconds"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    assert_eq!((operator.get("/healthz").await.0, operator.get("/readyz").await.0), (200, 200));
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_does_not_keep_others_from_going_on() {
    let plane = control_plane().await;
    let namespace = plane.namespace("elsewhere").await;
    let mut settings = Settings::docker(plane.kubeconfig(), &namespace.name);
    let down = json!({"name": "down", "docker": {"hosts": [{"name": "gone", "endpoint": "unix:///nowhere/docker.sock"}]}});
    settings.config["backends"].as_array_mut().unwrap().push(down);
    settings.config["defaultBackend"] = json!("docker");
    let _docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({"envFrom": [{"secretRef": {"name": "late"}}]})).await;
    broken(&namespace, "one", "SecretNotFound").await;
    secret(&namespace, "late", json!({"LATE": "but here"})).await;
    ready(&namespace, "one").await;
    assert_eq!(warnings(&namespace, "one").await, ["SecretNotFound"]);
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}
