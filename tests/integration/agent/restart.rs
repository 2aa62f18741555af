//! The same container, stopped and started on request: by the spec, and by commands beside it.

use serde_json::{Value, json};

use super::{
    api::{ask, token},
    scene::Scene,
};
use crate::support::objects::{condition, describe, patch, phase, ready, until};

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

#[tokio::test(flavor = "multi_thread")]
async fn commands_stop_start_and_restart_without_touching_the_spec() {
    let scene = Scene::new("commands").await;
    scene.well().await;
    let base = format!(
        "{}/api/v1/namespaces/{}/workspaces/one",
        scene.operator.settings.gateway_url(),
        scene.namespace.name
    );
    let worker = token(&scene.namespace, "worker", &["create", "get"], &["*"]).await;
    let reader = token(&scene.namespace, "reader", &["get"], &["*"]).await;
    let command = |word: &str, token: &str| {
        let (code, body) = ask(&format!("{base}/{word}"), token, &["--request", "POST"]);
        (code, serde_json::from_str::<Value>(&body).unwrap())
    };
    let boot = || scene.docker.inspect(&scene.container(), "{{.State.Running}} {{.State.StartedAt}}");
    let first_boot = boot();
    assert_eq!(command("stop", &reader).0, 403);

    scene.inside("echo from the main process > /proc/1/fd/1");

    let (code, power) = command("stop", &worker);
    assert_eq!((code, &power["state"], &power["reason"]), (200, &json!("Suspended"), &json!("Requested")));
    let by = format!("system:serviceaccount:{}:worker", scene.namespace.name);
    assert_eq!(power["by"], json!(by));
    let stopped = phase(&scene.namespace, "one", "Suspended").await;
    assert!(condition(&stopped, "Ready").contains(&by), "{}", describe(&stopped));
    assert!(boot().starts_with("false"));
    // There is no agent to ask, and the container's log can be read all the same.
    let (code, log) = ask(&format!("{base}/log?tailLines=50"), &reader, &[]);
    assert_eq!(code, 200, "{log}");
    assert!(log.lines().any(|line| line == "from the main process"), "{log}");
    // A change of something else leaves it stopped.
    patch(&scene.namespace, "one", json!({"spec": {"env": [{"name": "A", "value": "b"}]}})).await;
    let seen = ready(&scene.namespace, "one").await;
    assert_eq!(seen.status.unwrap().phase.as_deref(), Some("Suspended"));

    assert_eq!(command("start", &worker).0, 200);
    phase(&scene.namespace, "one", "Running").await;
    scene.well().await;
    let second_boot = boot();
    assert_ne!(second_boot, first_boot);

    let (code, power) = command("restart", &worker);
    assert_eq!((code, &power["state"]), (200, &json!("Restarting")));
    let restarted = until(&scene.namespace, "one", "restarted", |one| {
        let power = one.status.as_ref().and_then(|status| status.power.as_ref());
        power.is_some_and(|power| power.state == "Running") && condition(one, "Ready").starts_with("True")
    })
    .await;
    assert_ne!(boot(), second_boot, "{}", describe(&restarted));
    assert_eq!(restarted.spec.restart_nonce, None);
    scene.well().await;

    // The spec wins, and what it undid stays undone.
    assert_eq!(command("stop", &worker).0, 200);
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    let suspended = ready(&scene.namespace, "one").await;
    assert_eq!(suspended.status.clone().unwrap().power, None, "{}", describe(&suspended));
    let (code, refused) = command("start", &worker);
    assert_eq!((code, &refused["code"]), (409, &json!("Suspended")));
    patch(&scene.namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    phase(&scene.namespace, "one", "Running").await;
    scene.end().await;
}
