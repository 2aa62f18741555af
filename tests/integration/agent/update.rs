//! A newer operator brings a newer agent into containers that run, without a stop of what is in
//! them.

use std::path::{Path, PathBuf};

use berth::api::{AgentStatus, Workspace};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::scene::Scene;
use crate::support::{
    eventually,
    objects::{PATIENCE, until},
    operator::agent_binary,
};

/// Asks the supervisor in the container.
const CURL: &str =
    "curl --silent --http2-prior-knowledge --unix-socket /run/berth/user/agent/supervisor.sock";

/// What tells a version of the agent's program from another.
fn build(binary: &Path) -> String {
    let digest = hex::encode(Sha256::digest(std::fs::read(binary).unwrap()));
    digest[..12].to_owned()
}

/// Where a version of the agent's program stands that came after the container.
fn place(binary: &Path) -> String {
    format!("/var/lib/berth/agent/{}/berth-agent", build(binary))
}

/// Waits until the status says that this build runs, and that this one was given up.
async fn told(scene: &Scene, runs: &str, failed: Option<&str>) -> AgentStatus {
    let workspace = until(&scene.namespace, "one", "told of", |workspace| {
        let agent = workspace.status.as_ref().and_then(|status| status.agent.as_ref());
        agent.is_some_and(|agent| {
            let given_up = agent.failed_update.as_ref().map(|failed| failed.build.as_str());
            agent.build.as_deref() == Some(runs) && given_up == failed
        })
    })
    .await;
    workspace.status.unwrap().agent.unwrap()
}

/// The notes of the events that tell of an update that failed.
async fn events(scene: &Scene) -> Vec<String> {
    let of = ListParams::default().fields("reason=AgentUpdateFailed");
    let events = scene.namespace.api::<Event>().list(&of).await.unwrap();
    events.items.into_iter().filter_map(|event| event.note).collect()
}

/// The agent's program with something behind its end: another version that works as well.
fn newer(folder: &Path) -> PathBuf {
    let mut content = std::fs::read(agent_binary()).unwrap();
    content.extend_from_slice(b"newer");
    let path = folder.join("newer");
    std::fs::write(&path, content).unwrap();
    path
}

/// A program that looks like one, and can not be run.
fn broken(folder: &Path) -> PathBuf {
    let mut content = std::fs::read(agent_binary()).unwrap();
    content.truncate(64);
    content.extend_from_slice(&[0xff; 4096]);
    let path = folder.join("broken");
    std::fs::write(&path, content).unwrap();
    path
}

/// The terminals of the workspace by name and id.
fn terminals(scene: &Scene) -> Vec<(String, String)> {
    let answer: Value =
        serde_json::from_str(&scene.inside(&format!("{CURL} http://agent/v1/terminals"))).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = answer["terminals"].as_array().unwrap();
    all.iter().map(|one| (text(&one["name"]), text(&one["id"]))).collect()
}

/// What the Workspace's status says that its agent was set up with.
async fn configured(scene: &Scene) -> Option<String> {
    let workspace = scene.namespace.api::<Workspace>().get("one").await.unwrap();
    workspace.status.unwrap().configured.unwrap().agent
}

/// Starts the operator again with another program for its agents.
async fn bring(scene: &mut Scene, binary: &Path) {
    scene.operator.terminate().await;
    scene.operator.settings.config["gateway"]["agent"]["binary"] = json!(binary);
    scene.operator.restart().await;
}

/// Waits until the link has a connection and is run by this program.
async fn linked_by(scene: &Scene, program: &str) {
    eventually(PATIENCE, &format!("a link of {program}"), || async {
        let status: Value =
            serde_json::from_str(&scene.inside("cat /run/berth/user/agent/link.json || true"))
                .unwrap_or_default();
        if status["connected"] == true && status["binary"] == program { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_the_agent_leaves_processes_and_terminals_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::new("update").await;
    let before = scene.well().await;
    linked_by(&scene, "/opt/berth/berth-agent").await;
    // The view ends at once; the terminal stays.
    scene.inside(&format!(
        "{CURL} --max-time 2 --request POST http://agent/v1/terminals/main >/dev/null || true"
    ));
    let shown = terminals(&scene);
    assert_eq!(shown.len(), 1, "{shown:?}");
    let supervisor = scene.part("supervise");
    let first = configured(&scene).await;

    let newer = newer(folder.path());
    bring(&mut scene, &newer).await;
    linked_by(&scene, &place(&newer)).await;
    told(&scene, &build(&newer), None).await;
    assert_eq!(scene.well().await, before);
    assert_eq!(terminals(&scene), shown);
    assert_eq!(scene.part("supervise"), supervisor);
    assert_ne!(configured(&scene).await, first);

    // One that can not be run is given up for the one that the container was made with.
    let broken = broken(folder.path());
    bring(&mut scene, &broken).await;
    linked_by(&scene, "/opt/berth/berth-agent").await;
    scene.inside(&format!("test -e {}", place(&broken)));
    let agent = told(&scene, &build(Path::new(&agent_binary())), Some(&build(&broken))).await;
    let why = agent.failed_update.unwrap().message;
    assert!(why.contains("does not go on running"), "{why}");
    eventually(PATIENCE, "an event of the update", || async {
        let notes = events(&scene).await;
        if notes.len() == 1 && notes[0].contains(&build(&broken)) { Ok(()) } else { Err(notes) }
    })
    .await;
    assert_eq!(scene.well().await, before);
    assert_eq!(terminals(&scene), shown);
    scene.end().await;
}
