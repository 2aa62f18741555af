//! Which node of the cluster a Workspace is on.

use berth::api::Workspace;
use serde_json::json;

use super::{least, on_the_shared_cluster, remove, vmid_of};
use crate::support::{
    Namespace,
    objects::*,
    proxmox::{Base, SHARED_STORAGE, TEMPLATE},
};

fn node(workspace: &Workspace) -> Option<&str> {
    workspace.status.as_ref()?.resolved.as_ref()?.host.as_deref()
}

/// Waits until a Workspace has a node.
async fn placed(namespace: &Namespace, name: &str) -> String {
    let found = until(namespace, name, "on a node", |found| node(found).is_some()).await;
    node(&found).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_all_nodes_reach_is_cloned_to_the_node_with_the_most_free_memory() {
    let (cluster, _operator, namespace) =
        on_the_shared_cluster("pve-place", |cluster| cluster.backend(cluster.port())).await;
    let base = cluster.vmid();
    cluster.make_template(base, &Base { storage: Some(SHARED_STORAGE), ..Base::default() }).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": base}})).await;
    // The second node has a little more, but not once this one is promised so much.
    workspace(&namespace, "large", json!({"resources": {"memory": "16Gi"}})).await;
    let large = ready(&namespace, "large").await;
    assert_eq!(node(&large), Some("pve2"));
    assert_eq!(cluster.node_of(vmid_of(&large)).as_deref(), Some("pve2"));
    assert_eq!(cluster.node_of(base).as_deref(), Some("pve1"));
    workspace(&namespace, "small", least(json!({}))).await;
    assert_eq!(placed(&namespace, "small").await, "pve1");
    let named = json!({"backend": {"proxmox": {"node": "pve2"}}});
    workspace(&namespace, "named", least(named)).await;
    assert_eq!(placed(&namespace, "named").await, "pve2");
    // It is found again there, and removed there.
    for name in ["large", "small", "named"] {
        remove(&namespace, name).await;
    }
    assert_eq!(cluster.node_of(vmid_of(&large)), None);
    cluster.destroy(base).await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_of_one_node_is_cloned_there_alone() {
    let (_, _operator, namespace) =
        on_the_shared_cluster("pve-place", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    workspace(&namespace, "one", least(json!({}))).await;
    assert_eq!(placed(&namespace, "one").await, "pve1");
    let named = json!({"backend": {"proxmox": {"node": "pve2"}}});
    workspace(&namespace, "two", least(named)).await;
    let refused = broken(&namespace, "two", "NodeUnsuitable").await;
    assert!(condition(&refused, "Ready").contains("pve1"), "{}", describe(&refused));
    for name in ["one", "two"] {
        remove(&namespace, name).await;
    }
    namespace.delete().await;
}
