//! Supervised processes in real containers.

use serde_json::json;

use crate::support::{
    Docker, Operator, Settings, control_plane,
    objects::{
        delete, devserver, devserver_condition, devserver_patch, devserver_ready, devserver_until, gone,
        ready, template, workspace,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_devserver_runs_and_comes_back_after_a_crash() {
    let plane = control_plane().await;
    let namespace = plane.namespace("devserver").await;
    let settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    let docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    ready(&namespace, "one").await;
    devserver(
        &namespace,
        "web",
        json!({"workspaceRef": {"name": "one"}, "command": "echo hello; exec python3 -m http.server $PORT", "port": 3000}),
    )
    .await;
    let web = devserver_ready(&namespace, "web").await;
    let pid = web.status.unwrap().pid.unwrap();
    let container = &docker.containers()[0];
    docker.exec(container, "root", &format!("kill -9 {pid}"));
    let again = devserver_until(&namespace, "web", "started again", |web| {
        web.status.as_ref().and_then(|status| status.pid).is_some_and(|now| now != pid)
            && devserver_condition(web, "Ready").starts_with("True")
    })
    .await;
    assert_eq!(again.status.unwrap().restart_count, Some(1));
    let processes = docker.exec(container, "root", "pgrep -xc python3");
    assert_eq!(processes.trim(), "1");
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_what_the_process_serves() {
    let plane = control_plane().await;
    let namespace = plane.namespace("preview").await;
    let settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    let docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    devserver(
        &namespace,
        "web",
        json!({"workspaceRef": {"name": "one"}, "command": "python3 -m http.server $PORT", "port": 3000}),
    )
    .await;
    let web = devserver_ready(&namespace, "web").await;
    docker.exec(&docker.containers()[0], "dev", "echo first light > /workspace/index.html");
    let url = web.status.unwrap().preview.unwrap().url.unwrap();
    assert_eq!(fetch(&url), "first light\n");
    let unknown = url.replace("web-", "wob-");
    assert!(fetch_status(&unknown).starts_with("404"), "{}", fetch_status(&unknown));
    devserver_patch(&namespace, "web", json!({"spec": {"operatingMode": "Stopped"}})).await;
    devserver_until(&namespace, "web", "stopped", |web| {
        web.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Stopped")
    })
    .await;
    assert!(fetch_status(&url).starts_with("502"), "{}", fetch_status(&url));
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}

/// What curl prints of an address below `localhost`.
fn curl(url: &str, options: &[&str]) -> String {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "20"])
        .args(options)
        .arg(url)
        .output();
    String::from_utf8(output.expect("curl does not run").stdout).expect("no text")
}

fn fetch(url: &str) -> String {
    curl(url, &["--fail"])
}

fn fetch_status(url: &str) -> String {
    curl(url, &["--output", "/dev/null", "--write-out", "%{http_code}"])
}
