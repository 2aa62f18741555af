//! The device `/dev/net/tun` in a container.

use std::time::Duration;

use super::{
    client::Configuration,
    cluster::{Cluster, Place},
    node_shell, nodes, power,
};
use crate::backend::{BackendError, Reason};

/// The device, on nodes and in containers.
pub(super) const TUN: &str = "/dev/net/tun";
/// What processes get to end before a container is stopped for it.
const GRACE: Duration = Duration::from_secs(30);

/// Refuses what could not be finished, before anything is made: the device is neither inherited from
/// the source of a container, nor could it be given afterwards.
pub(super) fn foresee(
    cluster: &Cluster,
    source: &Configuration,
    source_name: &str,
) -> Result<(), BackendError> {
    if source.has_device(TUN) || nodes::are_reached(cluster) {
        return Ok(());
    }
    let words =
        format!("{source_name} has no {TUN} to hand on, and there is no way by SSH onto the node to give it");
    Err(BackendError::new(Reason::HostSshNotConfigured, words))
}

/// Sees to it that a container has the device from its next start on. A clone has what its template
/// has; otherwise only root on the node can give it, since the API lets no token do so. A container
/// that runs would go on without, so it is stopped: whoever wants it to run starts it again.
pub(super) async fn ensure(cluster: &Cluster, place: &Place) -> Result<(), BackendError> {
    let configuration = cluster.configuration(place).await?;
    if configuration.is_some_and(|configuration| configuration.has_device(TUN)) {
        return Ok(());
    }
    let node = nodes::shell(cluster, &place.node).await?;
    // First, so that one who is cut off between the two stops it again.
    power::stop_at(cluster, place, GRACE).await?;
    node_shell::give_tun(&node, place.vmid).await.map(drop)
}
