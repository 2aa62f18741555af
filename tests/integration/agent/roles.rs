//! Controllers and gateways as processes of their own: two replicas of the gateway, and one of
//! them is lost.

use std::time::Duration;

use serde_json::json;

use super::scene::{Scene, fetch};
use crate::support::{
    Operator, Settings, eventually,
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

/// Waits for the preview at this address, for as long as an agent may take to find another
/// gateway.
async fn preview_answers(url: &str) {
    eventually(Duration::from_secs(20), &format!("{url} answers"), || async {
        let answer = fetch(url, &["--max-time", "5"]);
        if answer == "here\n" { Ok(()) } else { Err(answer) }
    })
    .await;
}
