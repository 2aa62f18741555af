//! From a Workspace to an LXC container, and back.

use serde_json::json;

use crate::support::{
    Operator, Settings, control_plane, git_server,
    objects::*,
    proxmox::{TEMPLATE, cluster},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_cloned_worked_in_suspended_resumed_and_removed() {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-life").await;
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["backends"] = json!([cluster.backend(cluster.port())]);
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
    let vmid = resolved.vmid.unwrap();
    assert_eq!(resolved.host.as_deref(), Some("pve1"));
    let ours = async || cluster.of_instance(operator.instance()).await.into_keys().collect::<Vec<_>>();
    assert_eq!(ours().await, [vmid]);
    assert!(status.container.unwrap().ssh_host_key.is_some());
    assert_eq!(
        cluster.exec(vmid, "root", "cat /workspace/app.py; stat -c %U /workspace/app.py"),
        "print('hello')\ndev"
    );
    let configuration = cluster.configuration(vmid).await.unwrap();
    assert_eq!((configuration.memory, configuration.hostname.as_deref()), (Some(256), Some("one")));
    let tags = configuration.tags.to_string();
    assert!(tags.contains("berth;") && tags.contains("sample"), "{tags}");

    cluster.exec(vmid, "root", "echo mine > /workspace/mine.txt");
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    until(&namespace, "one", "suspended", |found| phase_of(found) == Some("Suspended")).await;
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    let again = ready(&namespace, "one").await;
    assert_eq!(id_of(&again), id_of(&made));
    assert_eq!(cluster.exec(vmid, "root", "cat /workspace/mine.txt"), "mine");

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(ours().await, Vec::<u32>::new());
    drop(operator);
    namespace.delete().await;
}
