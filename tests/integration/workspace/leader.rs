//! Several replicas, of which one works.

use std::time::{Duration, Instant};

use serde_json::json;

use super::creations::Creations;
use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane, eventually, git_server, objects::*,
};

/// Duration of the lease, as [`Settings`] have it.
const LEASE: Duration = Duration::from_secs(3);
/// What a takeover may take beyond that on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

async fn leads(operator: &Operator) -> bool {
    let (code, metrics) = operator.get("/metrics").await;
    assert_eq!(code, 200);
    let value = metrics.lines().find_map(|line| line.strip_prefix("berth_leader "));
    value.expect("no metric of the leader").trim() == "1"
}

/// Waits until one leads; gives the time this took.
async fn becomes_leader(operator: &Operator, limit: Duration) -> Duration {
    let started = Instant::now();
    eventually(limit, "it becomes the leader", || async {
        if leads(operator).await { Ok(()) } else { Err(()) }
    })
    .await;
    started.elapsed()
}

/// A leader and one that stands by.
async fn two(settings: &Settings) -> (Operator, Operator) {
    let first = Operator::start(settings.clone()).await;
    becomes_leader(&first, LEASE + SLACK).await;
    let second = Operator::start(settings.clone()).await;
    eventually(SLACK, "the second stands by", || async {
        let log = second.log();
        if log.contains("standing by") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(leads(&first).await);
    assert!(!leads(&second).await);
    (first, second)
}

async fn assert_one_body_each(
    namespace: &Namespace,
    names: &[String],
    docker: &Docker,
    creations: &Creations,
) {
    let mut expected = Vec::new();
    for name in names {
        let id = ready(namespace, name).await.status.unwrap_or_default().id.expect("it has an id");
        expected.push(format!("berth-{}.{name}-{id}-1", namespace.name));
    }
    expected.sort();
    let mut made = creations.containers().await;
    made.sort();
    let mut present = docker.containers();
    present.sort();
    assert_eq!(made, expected);
    assert_eq!(present, expected);
    assert_eq!(docker.networks().len(), names.len());
    assert_eq!(docker.volumes().len(), 2 * names.len());
}

async fn remove(namespace: Namespace, names: &[String], docker: &Docker) {
    for name in names {
        delete(&namespace, name).await;
    }
    for name in names {
        gone(&namespace, name).await;
    }
    assert_eq!(docker.everything(), Vec::<String>::new());
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_a_leader_that_was_killed() {
    let namespace = control_plane().await.namespace("leader").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    template(&namespace).await;
    let (mut first, second) = two(&settings).await;
    let names: Vec<String> = (1..=5).map(|number| format!("w{number}")).collect();
    for name in &names {
        workspace(&namespace, name, json!({"repository": {"url": git_server().await.public("sample")}}))
            .await;
    }
    creations.happened("create", 2).await;
    first.kill().await;
    assert!(becomes_leader(&second, LEASE + SLACK).await >= LEASE / 2, "the lease still held");
    assert_one_body_each(&namespace, &names, &docker, &creations).await;
    remove(namespace, &names, &docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_finds_itself_replaced_and_stands_by() {
    let namespace = control_plane().await.namespace("leader").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    template(&namespace).await;
    let (first, second) = two(&settings).await;
    let names: Vec<String> = (1..=3).map(|number| format!("w{number}")).collect();
    for name in &names {
        workspace(&namespace, name, json!({"repository": {"url": git_server().await.public("sample")}}))
            .await;
    }
    creations.happened("create", 1).await;
    first.signal("STOP");
    becomes_leader(&second, LEASE + SLACK).await;

    // It wakes up in the middle of what it did, while the other one does the same.
    first.signal("CONT");
    eventually(SLACK, "the thawed one stands by", || async {
        let log = first.log();
        let lost = log.find("no longer the leader");
        let stands_by = lost.is_some_and(|at| log.get(at..).is_some_and(|rest| rest.contains("standing by")));
        if stands_by { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(!leads(&first).await);
    assert!(leads(&second).await);
    assert_one_body_each(&namespace, &names, &docker, &creations).await;

    // And it is still good for taking over in its turn.
    drop(second);
    becomes_leader(&first, LEASE + SLACK).await;
    remove(namespace, &names, &docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_at_once_and_changes_nothing() {
    let namespace = control_plane().await.namespace("leader").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    template(&namespace).await;
    let (mut first, second) = two(&settings).await;
    workspace(&namespace, "one", json!({})).await;
    let before = ready(&namespace, "one").await;
    let container = docker.containers().join(" ");
    let state = "{{.Id}} {{.State.StartedAt}} {{.State.Running}} {{.RestartCount}}";
    let started = docker.inspect(&container, state);

    let asked = Instant::now();
    let status = first.terminate().await;
    assert!(status.success(), "{status}\n{}", first.log());
    assert!(asked.elapsed() < SLACK, "it took {:?}", asked.elapsed());
    let waited = becomes_leader(&second, LEASE + SLACK).await;
    assert!(waited < Duration::from_secs(2), "the other one took over after {waited:?}");

    // When the next one has made another workspace, it has looked at this one too.
    workspace(&namespace, "two", json!({})).await;
    ready(&namespace, "two").await;
    let after = ready(&namespace, "one").await;
    assert_eq!(after.metadata.generation, before.metadata.generation);
    assert_eq!(after.metadata.finalizers, before.metadata.finalizers);
    assert_eq!(after.status, before.status, "{}", describe(&after));
    assert_eq!(docker.inspect(&container, state), started);
    let names = ["one".to_owned(), "two".to_owned()];
    assert_one_body_each(&namespace, &names, &docker, &creations).await;
    remove(namespace, &names, &docker).await;
}
