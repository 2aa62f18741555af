//! The end of a Workspace: from every phase, with the daemon up or down, and the last ways out.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    docker_backend::proxy::{Place, Proxy},
    support::{
        ControlPlane, Docker, Namespace, Operator, Settings, control_plane, eventually, objects::*, word,
    },
};

/// How long a deletion waits for the daemon in these tests.
const PATIENCE: &str = "4s";

/// An operator whose way to Docker can be cut.
struct Cuttable {
    operator: Operator,
    docker: Docker,
    way: Proxy,
    _folder: tempfile::TempDir,
}

async fn cuttable(plane: &ControlPlane, namespace: &Namespace, deletion: &str) -> Cuttable {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join(format!("{}.sock", word()));
    let way = Proxy::start(Place::Socket(socket.clone()), Place::Socket("/var/run/docker.sock".into())).await;
    let mut settings = Settings::docker(plane.kubeconfig(), &namespace.name);
    settings.config["backends"][0]["docker"]["hosts"][0]["endpoint"] =
        json!(format!("unix://{}", socket.display()));
    settings.config["timeouts"] = json!({"deletion": deletion, "stop": "1s"});
    settings.config["orphans"] = json!({"interval": "1s"});
    let operator = Operator::start(settings).await;
    let docker = Docker::of(operator.instance());
    Cuttable { operator, docker, way, _folder: folder }
}

async fn ledger(namespace: &Namespace) -> BTreeMap<String, String> {
    let found = namespace.api::<ConfigMap>().get_opt("berth-ledger").await.unwrap();
    found.and_then(|map| map.data).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_goes_from_every_phase() {
    let plane = control_plane().await;
    let namespace = plane.namespace("phases").await;
    let operator = Operator::start(Settings::docker(plane.kubeconfig(), &namespace.name)).await;
    let docker = Docker::of(operator.instance());
    template(&namespace).await;
    let missing = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]});
    workspace(&namespace, "pending", missing).await;
    workspace(&namespace, "failed", json!({"backend": {"name": "nowhere"}})).await;
    workspace(&namespace, "suspended", json!({"operatingMode": "Suspended"})).await;
    workspace(&namespace, "running", json!({})).await;
    broken(&namespace, "pending", "SecretNotFound").await;
    broken(&namespace, "failed", "BackendNotFound").await;
    phase(&namespace, "suspended", "Suspended").await;
    phase(&namespace, "running", "Running").await;
    for name in ["pending", "failed", "suspended", "running"] {
        delete(&namespace, name).await;
    }
    for name in ["pending", "failed", "suspended", "running"] {
        gone(&namespace, name).await;
    }
    assert_eq!(docker.everything(), Vec::<String>::new());
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_volumes_stay_and_nothing_else() {
    let plane = control_plane().await;
    let namespace = plane.namespace("retain").await;
    let operator = Operator::start(Settings::docker(plane.kubeconfig(), &namespace.name)).await;
    let docker = Docker::of(operator.instance());
    template(&namespace).await;
    workspace(&namespace, "one", json!({"deletion": {"retainVolumes": true}})).await;
    let id = ready(&namespace, "one").await.status.unwrap().id.unwrap();
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    let mut left = docker.everything();
    left.sort();
    assert_eq!(left, [format!("berth-{id}-cache"), format!("berth-{id}-workspace")]);
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_down_delays_a_deletion_but_does_not_keep_it() {
    let plane = control_plane().await;
    let namespace = plane.namespace("ledger").await;
    let mut host = cuttable(plane, &namespace, PATIENCE).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    let made = ready(&namespace, "one").await;
    let id = made.status.clone().unwrap().id.unwrap();
    host.way.stop().await;
    delete(&namespace, "one").await;
    let waiting = broken(&namespace, "one", "BackendUnreachable").await;
    assert_eq!(waiting.status.unwrap().phase.as_deref(), Some("Terminating"));
    gone(&namespace, "one").await;
    let entries = ledger(&namespace).await;
    assert!(entries[&made.uid().unwrap()].contains(&id), "{entries:?}");
    assert_eq!(host.docker.containers().len(), 1, "nothing could be removed yet");

    host.way.resume().await;
    eventually(Duration::from_secs(30), "the ledger is worked off", || async {
        let entries = ledger(&namespace).await;
        if entries.is_empty() { Ok(()) } else { Err(entries) }
    })
    .await;
    let mut left = host.docker.everything();
    left.sort();
    assert_eq!(left, [format!("berth-{id}-cache"), format!("berth-{id}-workspace")], "the volumes are kept");
    drop(host.operator);
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_ways_out_of_a_deletion() {
    let plane = control_plane().await;
    let namespace = plane.namespace("waysout").await;
    let mut host = cuttable(plane, &namespace, "10m").await;
    template(&namespace).await;
    for name in ["forced", "orphaned"] {
        workspace(&namespace, name, json!({})).await;
    }
    let forced = ready(&namespace, "forced").await;
    let orphaned = ready(&namespace, "orphaned").await;
    let annotate = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    // Without a deletion they mean nothing.
    patch(&namespace, "orphaned", annotate("berth.dev/orphan", &orphaned.uid().unwrap())).await;
    patch(&namespace, "orphaned", json!({"spec": {"env": [{"name": "A", "value": "b"}]}})).await;
    assert!(ready(&namespace, "orphaned").await.metadata.deletion_timestamp.is_none());
    patch(&namespace, "orphaned", json!({"metadata": {"annotations": {"berth.dev/orphan": null}}})).await;

    host.way.stop().await;
    for name in ["forced", "orphaned"] {
        delete(&namespace, name).await;
        broken(&namespace, name, "BackendUnreachable").await;
        // The uid of another object does not count.
        patch(&namespace, name, annotate("berth.dev/force", "00000000-0000-0000-0000-000000000000")).await;
    }
    broken(&namespace, "forced", "BackendUnreachable").await;
    patch(&namespace, "forced", annotate("berth.dev/force", &forced.uid().unwrap())).await;
    gone(&namespace, "forced").await;
    assert!(ledger(&namespace).await.contains_key(&forced.uid().unwrap()));

    patch(&namespace, "orphaned", annotate("berth.dev/orphan", &orphaned.uid().unwrap())).await;
    gone(&namespace, "orphaned").await;
    assert!(!ledger(&namespace).await.contains_key(&orphaned.uid().unwrap()));
    host.way.resume().await;
    eventually(Duration::from_secs(30), "the ledger is worked off", || async {
        let entries = ledger(&namespace).await;
        if entries.is_empty() { Ok(()) } else { Err(entries) }
    })
    .await;
    let kept = orphaned.status.unwrap().id.unwrap();
    assert_eq!(host.docker.containers(), [format!("berth-{}.orphaned-{kept}-1", namespace.name)]);
    assert_eq!(host.docker.networks(), [format!("berth-{kept}")]);
    drop(host.operator);
    namespace.delete().await;
}
