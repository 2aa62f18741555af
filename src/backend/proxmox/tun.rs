//! The device `/dev/net/tun` in a container.

use super::cluster::{Cluster, Place};
use crate::backend::{BackendError, Reason};

const TUN: &str = "/dev/net/tun";

/// Sees to it that a container has the device. A clone has what its template has; otherwise only
/// root on the node can give it, since the API lets no token do so.
pub(super) async fn ensure(cluster: &Cluster, place: &Place) -> Result<(), BackendError> {
    let configuration = cluster.configuration(place).await?;
    if configuration.is_some_and(|configuration| configuration.has_device(TUN)) {
        return Ok(());
    }
    Err(BackendError::new(
        Reason::HostSshNotConfigured,
        format!("CT {} has no {TUN}, and its template has none to hand on", place.vmid),
    ))
}
