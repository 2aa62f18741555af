//! From the manifest to the process, and to its end.

use std::time::Duration;

use berth::api::Workspace;
use berth_link::wire::process::{Exit, ProcessPhase, ProcessState};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;

use super::*;
use crate::support::objects::{patch, secret};

#[tokio::test(flavor = "multi_thread")]
async fn a_devserver_waits_for_its_workspace_and_goes_with_it() {
    let world = World::new().await;
    let leader = world.lead().await;
    world.devserver("web", json!({"port": 3000})).await;
    let waiting = world.until_ready_is("web", "False WorkspaceNotFound").await;
    assert_eq!(phase(&waiting), "Pending");

    let id = world.workspace("ws").await;
    let told = &leader.until_processes_are(id, &["web"]).await[0];
    assert!(told.run);
    assert_eq!((told.command.as_str(), told.port), ("npm run dev", Some(3000)));
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    assert_eq!(well.status.as_ref().unwrap().pid, Some(42));
    let owner = &well.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Workspace", "ws"));
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(false), Some(false)));

    world.namespace.api::<Workspace>().delete("ws", &DeleteParams::default()).await.unwrap();
    eventually(PATIENCE, "the DevServer is gone", || async {
        if world.api().get_opt("web").await.unwrap().is_none() { Ok(()) } else { Err(()) }
    })
    .await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_tells_becomes_the_status() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000, "preview": {"enabled": false}})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![]);
    let starting = world.until_ready_is("web", "False Starting").await;
    assert_eq!(phase(&starting), "Starting");

    leader.tells(id, vec![running("web")]);
    world.until_ready_is("web", "True Running").await;
    leader.tells(
        id,
        vec![ProcessState {
            reason: Some("CrashLoop".into()),
            message: Some("the process ended 4 times".into()),
            restart_count: 3,
            last_exit: Some(Exit { code: Some(1), signal: None }),
            last_output: Some("Error: no module\n".into()),
            ..state("web", ProcessPhase::Failed)
        }],
    );
    let failed = world.until_ready_is("web", "False CrashLoop").await;
    assert_eq!(
        condition(&failed, "Ready"),
        "False CrashLoop: the process ended 4 times; last output: Error: no module"
    );
    assert_eq!(phase(&failed), "Failed");
    assert!(condition(&failed, "Stalled").starts_with("True"));

    // A nonce starts it anew.
    world.change("web", json!({"spec": {"restartNonce": "2"}})).await;
    world.until_ready_is("web", "False Restarting").await;
    leader
        .until_wanted("the nonce is told", |wanted| {
            wanted.processes.get(&id).is_some_and(|all| all.processes[0].restart_nonce == "2")
        })
        .await;
    leader.tells(id, vec![ProcessState { restart_nonce: "2".into(), ..running("web") }]);
    let well = world.until_ready_is("web", "True Running").await;
    assert_eq!(well.status.unwrap().observed_restart_nonce.as_deref(), Some("2"));

    // While the agent is away nobody knows.
    leader.lost(id, Duration::from_secs(60));
    let unknown = world.until_ready_is("web", "Unknown AgentNotConnected").await;
    assert_eq!(phase(&unknown), "Running");
    assert!(condition(&unknown, "ProcessRunning").starts_with("Unknown AgentNotConnected"));

    let events = control_plane().await.kubectl(&[
        "get",
        "events",
        "--namespace",
        &world.namespace.name,
        "--output",
        "jsonpath={.items[*].reason}",
    ]);
    assert!(events.contains("Running") && events.contains("CrashLoop"), "{events}");
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_stopped_suspended_and_removed() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("one", json!({})).await;
    world.devserver("two", json!({})).await;
    leader.until_processes_are(id, &["one", "two"]).await;
    leader.tells(id, vec![running("one"), running("two")]);
    world.until_ready_is("two", "True Running").await;

    world.change("one", json!({"spec": {"operatingMode": "Stopped"}})).await;
    world.until_ready_is("one", "False Stopping").await;
    leader
        .until_wanted("one is not to run", |wanted| {
            wanted.processes.get(&id).is_some_and(|all| !all.processes[0].run && all.processes[1].run)
        })
        .await;
    leader.tells(id, vec![state("one", ProcessPhase::Stopped), running("two")]);
    let stopped = world.until_ready_is("one", "True Stopped").await;
    assert_eq!(phase(&stopped), "Stopped");

    patch(&world.namespace, "ws", json!({"spec": {"operatingMode": "Suspended"}})).await;
    let suspended = world.until_ready_is("two", "True Suspended").await;
    assert_eq!((phase(&suspended), suspended.status.as_ref().unwrap().pid), ("Suspended", None));
    // It is still wanted, for when the Workspace is back.
    leader.until_processes_are(id, &["one", "two"]).await;
    patch(&world.namespace, "ws", json!({"spec": {"operatingMode": "Running"}})).await;
    world.until_ready_is("two", "True Running").await;

    world.remove("one").await;
    leader.until_processes_are(id, &["two"]).await;
    world.remove("two").await;
    leader.until_processes_are(id, &[]).await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_come_from_secrets_and_a_process_waits_for_them() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    let from = json!({"secretKeyRef": {"name": "keys", "key": "api"}});
    world
        .devserver("web", json!({"env": [{"name": "API", "valueFrom": from}, {"name": "A", "value": "x"}]}))
        .await;
    let told = leader.until_processes_are(id, &["web"]).await;
    assert!(!told[0].run && told[0].env.is_empty(), "{told:?}");
    leader.tells(id, vec![ProcessState { started_at: None, ..state("web", ProcessPhase::Stopped) }]);
    let waiting = world.until_ready_is("web", "False SecretNotFound").await;
    assert_eq!(phase(&waiting), "Pending");
    assert!(condition(&waiting, "SecretsReady").contains("the process starts by itself soon after it does"));

    secret(&world.namespace, "keys", json!({"api": "hunter2"})).await;
    let wanted = leader
        .until_wanted("the process is to run", |wanted| {
            wanted.processes.get(&id).is_some_and(|all| all.processes[0].run)
        })
        .await;
    let env = &wanted.processes[&id].processes[0].env;
    assert_eq!((env["API"].as_str(), env["A"].as_str()), ("hunter2", "x"));
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    assert!(!serde_json::to_string(&well).unwrap().contains("hunter2"));
    world.namespace.delete().await;
}
