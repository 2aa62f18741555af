//! The same container, stopped and started again on request.

use serde_json::json;

use super::scene::Scene;
use crate::support::objects::{describe, patch, ready, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_nonce_restarts_the_same_container() {
    let scene = Scene::new("restart").await;
    let before = scene.well().await;
    let boot = || scene.docker.inspect(&scene.container(), "{{.State.StartedAt}}");
    let same = "{{.Id}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{.Name}}";
    let (first_boot, container) = (boot(), scene.docker.inspect(&scene.container(), same));
    scene.inside("echo mine > /workspace/mine.txt");

    patch(&scene.namespace, "one", json!({"spec": {"restartNonce": "first"}})).await;
    until(&scene.namespace, "one", "restarted", |one| {
        one.status.as_ref().and_then(|status| status.observed_restart_nonce.as_deref()) == Some("first")
    })
    .await;
    let restarted = ready(&scene.namespace, "one").await;
    let second_boot = boot();
    assert_ne!(second_boot, first_boot, "{}", describe(&restarted));
    assert_eq!(scene.docker.inspect(&scene.container(), same), container);
    assert_eq!(scene.inside("cat /workspace/mine.txt"), "mine");
    let after = scene.well().await;
    assert_eq!(after.starts, before.starts + 1);

    // Taking it away is no wish for another one.
    patch(&scene.namespace, "one", json!({"spec": {"restartNonce": null}})).await;
    let settled = ready(&scene.namespace, "one").await;
    assert_eq!(settled.status.unwrap().observed_restart_nonce, None);
    assert_eq!(boot(), second_boot);
    scene.end().await;
}
