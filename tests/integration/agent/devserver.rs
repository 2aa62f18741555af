//! Supervised processes in real containers.

use serde_json::json;

use crate::support::{
    Docker, Operator, Settings, control_plane,
    objects::{
        delete, devserver, devserver_condition, devserver_ready, devserver_until, gone, ready, template,
        workspace,
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
