//! A container shows another SSH host key than before.

use serde_json::{Value, json};

use crate::{
    agent::api::{ask, token},
    support::{
        Operator, Settings, control_plane,
        objects::*,
        proxmox::{TEMPLATE, cluster},
    },
};

/// Makes new host keys, as somebody would who renews them.
const NEW_KEYS: &str = "rm /etc/ssh/ssh_host_* && ssh-keygen -A >/dev/null";

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_is_refused_until_the_one_before_is_forgotten() {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-key").await;
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["backends"] = json!([cluster.backend(cluster.port())]);
    let url = format!("{}/api/v1/namespaces/{}/workspaces/one", settings.gateway_url(), namespace.name);
    let operator = Operator::start(settings).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    workspace(&namespace, "one", json!({"resources": {"memory": "256Mi"}})).await;
    let status = ready(&namespace, "one").await.status.unwrap();
    let vmid = status.resolved.unwrap().vmid.unwrap();
    let first = status.container.unwrap().ssh_host_key.unwrap();

    cluster.exec(vmid, "root", NEW_KEYS);
    patch(&namespace, "one", json!({"spec": {"restartNonce": "new-keys"}})).await;
    let refused = broken(&namespace, "one", "HostKeyChanged").await;
    let status = refused.status.clone().unwrap();
    assert_eq!(status.container.unwrap().ssh_host_key.as_ref(), Some(&first));
    assert!(status.error.unwrap().hint.unwrap().contains("kubectl berth reset-host-key"));

    let reset = format!("{url}/reset-host-key");
    let post = |token: &str| ask(&reset, token, &["--request", "POST"]);
    let restarter = token(&namespace, "restarter", &["create"], &["workspaces/restart"]).await;
    assert_eq!(post(&restarter).0, 403);
    let administrator = token(&namespace, "administrator", &["create"], &["workspaces/reset-host-key"]).await;
    let (code, answer) = post(&administrator);
    assert_eq!(code, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["forgottenHostKey"], json!(first));

    let again = ready(&namespace, "one").await;
    let second = again.status.unwrap().container.unwrap().ssh_host_key.unwrap();
    assert_ne!(second, first);
    assert_eq!(cluster.of_instance(operator.instance()).await.into_keys().collect::<Vec<_>>(), [vmid]);

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    drop(operator);
    namespace.delete().await;
}
