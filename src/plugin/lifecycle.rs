//! `suspend` and `resume`: the user's own writes of a spec. `restart`: a command where there is
//! one, which leaves the spec alone.

use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;

use super::{
    arguments::Target,
    client::Cluster,
    exit::{Failure, Subject},
    local,
};
use crate::{
    api::{OperatingMode, Workspace},
    controller::commands::ForgottenHostKey,
};

/// Who writes, in the objects' managed fields.
const MANAGER: &str = "kubectl-berth";

/// The dev servers of the namespace.
pub fn dev_servers(cluster: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("berth.dev", "v1alpha1", "DevServer");
    let resource = ApiResource::from_gvk_with_plural(&kind, "devservers");
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

/// The workspaces of the namespace.
pub fn workspaces(cluster: &Cluster) -> Api<Workspace> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() }
}

/// Sets what a workspace is meant to do.
pub async fn set_mode(cluster: &Cluster, name: &str, mode: OperatingMode) -> Result<u8, Failure> {
    let change = json!({"spec": {"operatingMode": mode}});
    let work = async {
        workspaces(cluster)
            .patch(name, &parameters(), &Patch::Merge(&change))
            .await
            .map_err(|error| Subject::workspace(name, &cluster.namespace).failure(error))
    };
    let changed = cluster.in_time(work).await?;
    // What a command stopped while the spec said Running is not started by saying so again.
    if mode == OperatingMode::Running && changed.is_to_be_suspended() {
        command(cluster, name, "start").await?;
    }
    match mode {
        OperatingMode::Suspended => local::line(&format!("workspace/{name} is being suspended"))?,
        OperatingMode::Running => local::line(&format!("workspace/{name} is being resumed"))?,
    }
    Ok(0)
}

/// Gives a workspace a command, and returns what is answered.
async fn command(cluster: &Cluster, name: &str, word: &str) -> Result<Vec<u8>, Failure> {
    let workspace = cluster.workspace(name);
    cluster.in_time(workspace.post(word, &json!({}))).await
}

/// Has the operator forget the host key of a workspace's container.
pub async fn reset_host_key(cluster: &Cluster, name: &str) -> Result<u8, Failure> {
    let answer = command(cluster, name, "reset-host-key").await?;
    let answer: ForgottenHostKey = serde_json::from_slice(&answer)?;
    match answer.forgotten_host_key {
        Some(key) => local::line(&format!("workspace/{name}: the host key {key} is forgotten"))?,
        None => local::line(&format!("workspace/{name}: no host key was known"))?,
    }
    Ok(0)
}

/// Starts a workspace's container, or a dev server's process, again.
pub async fn restart(cluster: &Cluster, target: &Target) -> Result<u8, Failure> {
    let name = match target {
        Target::DevServer(name) => name,
        Target::Workspace(name) => {
            command(cluster, name, "restart").await?;
            local::line(&format!("workspace/{name} is being restarted"))?;
            return Ok(0);
        }
    };
    let nonce = format!("{}-{}", jiff::Timestamp::now(), hex::encode(rand::random::<[u8; 4]>()));
    let change = json!({"spec": {"restartNonce": nonce}});
    let work = async {
        dev_servers(cluster)
            .patch(name, &parameters(), &Patch::Merge(&change))
            .await
            .map_err(|error| Subject::dev_server(name, &cluster.namespace).failure(error))
    };
    cluster.in_time(work).await?;
    local::line(&format!("devserver/{name} is being restarted"))?;
    Ok(0)
}
