//! Workspaces on Proxmox VE: a simulated cluster, and the operator as a process. With real containers
//! where a Workspace is to become Ready; where something is to go wrong before that, on a cluster of
//! the test's own that only remembers its containers ([`scene`]).
//!
//! What holds on every kind of backend is tested in `lifecycle`.

mod adoption;
mod answers;
mod clones;
mod contention;
mod disk;
mod dns;
mod host_key;
mod killed;
mod life;
mod locks;
mod network;
mod nodes;
mod orphans;
mod placement;
mod rights;
mod scene;
mod template;
mod tun;
mod vmid;

use serde_json::{Value, json};

use crate::support::{
    Namespace, Operator, Settings, control_plane,
    objects::*,
    proxmox::{Cluster, cluster},
};

/// The cluster with real containers, with an operator for a namespace of its own that has this backend of it.
async fn on_the_shared_cluster(
    prefix: &str,
    backend: impl FnOnce(&'static Cluster) -> Value,
) -> (&'static Cluster, Operator, Namespace) {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace(prefix).await;
    let backends = json!([backend(cluster)]);
    let operator = Operator::start(Settings::new(plane.kubeconfig(), &namespace.name, backends)).await;
    (cluster, operator, namespace)
}

/// The least that a Workspace needs, with more laid over it.
fn least(more: Value) -> Value {
    let mut spec = json!({"resources": {"memory": "256Mi"}});
    crate::lifecycle::lay_over(&mut spec, more);
    spec
}

/// The VMID that a Workspace has.
fn vmid_of(workspace: &berth::api::Workspace) -> u32 {
    let resolved = workspace.status.as_ref().and_then(|status| status.resolved.as_ref());
    resolved.and_then(|resolved| resolved.vmid).expect("it has a VMID")
}

/// Deletes a Workspace and waits until it is gone.
async fn remove(namespace: &Namespace, name: &str) {
    delete(namespace, name).await;
    gone(namespace, name).await;
}
