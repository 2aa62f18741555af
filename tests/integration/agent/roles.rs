//! Controllers and gateways as processes of their own: two replicas of the gateway, and one of
//! them is lost.

use std::time::Duration;

use serde_json::json;

use super::scene::{Scene, fetch};
use crate::support::{
    Operator, Settings, eventually,
    objects::{devserver_patch, devserver_until},
    operator::{docker_bridge, free_port},
};

/// A replica of the gateway, on a port of its own and without any backend.
async fn gateway(controller: &Settings, port: u16) -> Operator {
    let mut settings = controller.clone();
    settings.role = "gateway";
    settings.config["backends"] = json!([]);
    settings.config["gateway"]["listen"] = json!(format!("0.0.0.0:{port}"));
    Operator::start(settings).await
}

/// Workspace and DevServer, made by a controller and two gateways; and the preview's address at
/// each of these.
async fn apart(prefix: &str) -> (Scene, [Operator; 2], [String; 2]) {
    let ports = [free_port(), free_port()];
    let beginning = Scene::beginning(prefix, |settings| {
        settings.role = "controller";
        let addresses = ports.map(|port| format!("http://{}:{port}", docker_bridge()));
        settings.config["gateway"]["agentURLs"] = json!(addresses);
        settings.config["preview"]["port"] = json!(ports[0]);
    })
    .await;
    let controller = beginning.operator.settings.clone();
    let gateways = [gateway(&controller, ports[0]).await, gateway(&controller, ports[1]).await];
    let scene = beginning.made().await;
    let urls = ports.map(|port| scene.url.replace(&format!(":{}", ports[0]), &format!(":{port}")));
    (scene, gateways, urls)
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_go_on_while_there_is_no_controller() {
    let (mut scene, _gateways, urls) = apart("headless").await;
    let before = scene.well().await;
    scene.operator.kill().await;
    for url in &urls {
        assert_eq!(fetch(url, &["--max-time", "5"]), "here\n", "{url}");
    }
    scene.operator.restart().await;
    assert_eq!(scene.well().await, before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_lost_is_replaced_by_another() {
    let (scene, mut gateways, urls) = apart("roles").await;
    for url in &urls {
        preview_answers(url).await;
    }
    let before = scene.well().await;

    let has_link = |gateway: &Operator| gateway.log().contains("an agent has a link");
    let holders: Vec<usize> = (0..2).filter(|index| has_link(&gateways[*index])).collect();
    assert_eq!(holders.len(), 1, "both gateways had a link, or none");
    let (lost, left) = (holders[0], 1 - holders[0]);
    gateways[lost].kill().await;

    preview_answers(&urls[left]).await;
    assert!(has_link(&gateways[left]));
    let starts: usize = scene.inside("wc -l < /workspace/starts").parse().unwrap();
    assert_eq!(starts, before.starts);
    assert_eq!(scene.inside("pgrep -f '^python3 /workspace/server.py'"), before.pid.to_string());
    gateways[lost].restart().await;
    preview_answers(&urls[lost]).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_that_has_the_link_becomes_the_leader() {
    let ports = [free_port(), free_port()];
    let listen = |settings: &mut Settings, port: u16| {
        settings.config["gateway"]["listen"] = json!(format!("0.0.0.0:{port}"));
    };
    let beginning = Scene::beginning("replicas", |settings| {
        listen(settings, ports[0]);
        settings.config["gateway"]["agentURLs"] = json!([format!("http://{}:{}", docker_bridge(), ports[1])]);
        settings.config["preview"]["port"] = json!(ports[1]);
    })
    .await;
    eventually(Duration::from_secs(20), "the first replica leads", || async {
        let log = beginning.operator.log();
        if log.contains("this replica is the leader") { Ok(()) } else { Err(log) }
    })
    .await;
    let mut second = beginning.operator.settings.clone();
    listen(&mut second, ports[1]);
    let second = Operator::start(second).await;
    let mut scene = beginning.made().await;
    preview_answers(&scene.url.replace(&format!(":{}", ports[1]), &format!(":{}", ports[0]))).await;
    let before = scene.well().await;
    assert!(!second.log().contains("this replica is the leader"));

    scene.operator.kill().await;
    eventually(Duration::from_secs(20), "the second replica leads", || async {
        let log = second.log();
        if log.contains("this replica is the leader") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(scene.well().await, before);
    devserver_patch(&scene.namespace, "web", json!({"spec": {"restartNonce": "1"}})).await;
    let after = devserver_until(&scene.namespace, "web", "started again", |web| {
        let status = web.status.clone().unwrap_or_default();
        status.observed_restart_nonce.as_deref() == Some("1")
    })
    .await;
    assert_ne!(after.status.unwrap().pid, Some(before.pid));
    assert_eq!(scene.well().await.starts, before.starts + 1);
    scene.end().await;
}

/// Waits for the preview at this address, for as long as an agent may take to find another
/// gateway.
async fn preview_answers(url: &str) {
    eventually(Duration::from_secs(20), &format!("{url} answers"), || async {
        let answer = fetch(url, &["--max-time", "5"]);
        if answer == "here\n" { Ok(()) } else { Err(answer) }
    })
    .await;
}
