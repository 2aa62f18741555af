//! The way into a running container.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, Place},
    inspect, node_shell, nodes,
};
use crate::backend::{
    BackendError, ContainerRef, Reason, RunState,
    ssh::{HostKey, SshGuest, Target},
};

/// How long one look waits for a container's SSH server, which comes up after its address.
const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(500);

/// Opens the inside of a container.
pub(super) async fn guest(cluster: &Cluster, container: &ContainerRef) -> Result<SshGuest, BackendError> {
    let body = inspect::inspect(cluster, &container.body).await?;
    let found = body.containers.into_iter().find(|found| found.incarnation == container.incarnation);
    let Some(found) = found else {
        inspect::existing(cluster, container).await?;
        return Err(BackendError::new(Reason::NotRunning, "the container is not made to its end"));
    };
    let (RunState::Running, Some(ip)) = (found.state, found.ip) else {
        let words = format!("CT {} is not running, or has no address", found.id);
        return Err(BackendError::new(Reason::NotRunning, words));
    };
    let expected = container.body.known.host_key.as_deref().map(str::parse::<HostKey>).transpose();
    let expected = expected.map_err(|error| {
        BackendError::new(Reason::HostKeyChanged, format!("the host key in the status {error}"))
    })?;
    let target = Target { host: ip.to_string(), port: cluster.config.ssh.port, user: "root".to_owned() };
    // A container that takes the place of another at its VMID has another name here.
    let name = format!("{}-{}", container.body.id, container.incarnation);
    let deadline = Instant::now() + PATIENCE;
    let mut authorized = false;
    loop {
        match cluster.ways.guests.guest(&name, &target, expected.clone()).await {
            Err(error) if error.reason == Reason::SshUnreachable && Instant::now() < deadline => {
                sleep(INTERVAL).await;
            }
            Err(error) if error.reason == Reason::SshAuthFailed && !authorized => {
                authorize(cluster, container, error).await?;
                authorized = true;
            }
            result => return result,
        }
    }
}

/// Puts the operator's key into a container that does not have it, through its node: neither its
/// template nor the API did.
async fn authorize(
    cluster: &Cluster,
    container: &ContainerRef,
    refused: BackendError,
) -> Result<(), BackendError> {
    if !nodes::are_reached(cluster) {
        let words = format!(
            "{}: its template lacks the operator's key, and there is no way by SSH onto the node (hostSsh) to put it in",
            refused.message
        );
        return Err(BackendError::new(refused.reason, words));
    }
    let keys = cluster.public_keys().await?;
    let Place { node, vmid } = inspect::existing(cluster, container).await?.place;
    tracing::info!(%vmid, %node, "the container gets the operator's key through its node");
    let node = nodes::shell(cluster, &node).await?;
    node_shell::authorize(&node, vmid, &keys).await
}
