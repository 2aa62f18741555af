//! A Workspace from its creation to its deletion.

use berth::api::Template;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{Docker, Operator, Settings, control_plane, git_server, objects::*};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_becomes_ready_is_suspended_resumed_and_deleted() {
    let plane = control_plane().await;
    let namespace = plane.namespace("life").await;
    let operator = Operator::start(Settings::docker(plane.kubeconfig(), &namespace.name)).await;
    let docker = Docker::of(operator.instance());
    let git = git_server().await;
    template(&namespace).await;
    workspace(
        &namespace,
        "one",
        json!({
            "repository": {"url": git.public("sample")},
            "env": [{"name": "GREETING", "value": "it's \"me\"\n$HOME"}],
            "resources": {"cpu": "500m", "memory": "256Mi", "pids": 200},
        }),
    )
    .await;

    let made = ready(&namespace, "one").await;
    let status = made.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"), "{}", describe(&made));
    assert_eq!(condition(&made, "Available"), "True Usable: ");
    let id = status.id.clone().unwrap();
    let container = format!("berth-{}.one-{id}-1", namespace.name);
    assert_eq!(docker.containers(), std::slice::from_ref(&container));
    assert_eq!(docker.networks(), [format!("berth-{id}")]);
    assert_eq!(docker.volumes().len(), 2);
    let checkout = status.git.unwrap();
    assert_eq!(checkout.branch.as_deref(), Some("main"));
    assert_eq!(checkout.head.unwrap(), git.head("public/sample", "main"));
    let limits = docker
        .inspect(&container, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}");
    assert_eq!(limits, format!("{} 500000000 200", 256 << 20));
    assert_eq!(
        docker.exec(&container, "dev", "cat /workspace/app.py; printf %s \"$GREETING\""),
        "print('hello')\nit's \"me\"\n$HOME"
    );

    docker.exec(&container, "dev", "echo mine > /workspace/mine.txt; echo cached > ~/.cache/cached.txt");
    let before = docker.inspect(&container, "{{.Id}}");
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    let suspended = ready(&namespace, "one").await;
    assert!(condition(&suspended, "Ready").starts_with("True Suspended"), "{}", describe(&suspended));
    assert!(condition(&suspended, "Available").starts_with("False Suspended"), "{}", describe(&suspended));
    assert_eq!(docker.inspect(&container, "{{.State.Running}}"), "false");

    patch(&namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let resumed = ready(&namespace, "one").await;
    assert_eq!(resumed.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(docker.inspect(&container, "{{.Id}} {{.State.Running}}"), format!("{before} true"));
    let kept = docker.exec(
        &container,
        "dev",
        "cat /workspace/mine.txt ~/.cache/cached.txt; printf %s \"$GREETING\"",
    );
    assert_eq!(kept, "mine\ncached\nit's \"me\"\n$HOME");

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(docker.everything(), Vec::<String>::new());
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_template_counts_until_there_is_a_container() {
    let plane = control_plane().await;
    let namespace = plane.namespace("corrected").await;
    let operator = Operator::start(Settings::docker(plane.kubeconfig(), &namespace.name)).await;
    let _docker = Docker::of(operator.instance());
    let wrong = json!({"docker": {"image": "berth-demo/no-such-image:1", "pullPolicy": "Never"}});
    template_with(&namespace, "base", wrong).await;
    workspace(&namespace, "one", json!({})).await;
    let missing = broken(&namespace, "one", "ImageNotFound").await;
    assert!(condition(&missing, "Ready").contains("berth-demo/no-such-image:1"), "{}", describe(&missing));

    let templates = namespace.api::<Template>();
    let corrected = json!({"spec": {"docker": {"image": IMAGE}}});
    templates.patch("base", &PatchParams::default(), &Patch::Merge(&corrected)).await.unwrap();
    let made = ready(&namespace, "one").await;
    assert_eq!(made.status.unwrap().resolved.unwrap().image, IMAGE);

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}
