//! From a Workspace to an LXC container, and back.

use serde_json::json;

use crate::support::{
    Operator, Settings, control_plane, git_server,
    objects::*,
    proxmox::{Cluster, TEMPLATE},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_cloned_worked_in_suspended_resumed_and_removed() {
    let cluster = Cluster::start().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-life").await;
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["backends"] = json!([cluster.backend()]);
    let operator = Operator::start(settings).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;

    let repository = git_server().await.public("sample");
    workspace(
        &namespace,
        "one",
        json!({"repository": {"url": repository}, "resources": {"memory": "256Mi"}}),
    )
    .await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "AgentConnected"), "True Connected: ");
    let status = made.status.clone().unwrap();
    let resolved = status.resolved.clone().unwrap();
    assert_eq!((resolved.vmid, resolved.host.as_deref()), (Some(1000), Some("pve1")));
    assert_eq!(cluster.vmids().await, [1000]);
    assert!(status.container.unwrap().ssh_host_key.is_some());
    assert_eq!(
        cluster.exec(1000, "cat /workspace/app.py; stat -c %U /workspace/app.py").await,
        "print('hello')\ndev"
    );
    let configuration = cluster.configuration(1000).await.unwrap();
    assert_eq!((configuration.memory, configuration.hostname.as_deref()), (Some(256), Some("one")));
    let tags = configuration.tags.to_string();
    assert!(tags.contains("berth;") && tags.contains("sample"), "{tags}");

    cluster.exec(1000, "echo mine > /workspace/mine.txt").await;
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    until(&namespace, "one", "suspended", |found| phase_of(found) == Some("Suspended")).await;
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let again = ready(&namespace, "one").await;
    assert_eq!(id_of(&again), id_of(&made));
    assert_eq!(cluster.exec(1000, "cat /workspace/mine.txt").await, "mine");

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(cluster.vmids().await, Vec::<u32>::new());
    drop(operator);
    namespace.delete().await;
}
