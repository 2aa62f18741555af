//! Growing the disk of a container.

use super::{
    client::{Disk, Resize, Upid},
    cluster::{Cluster, Place},
    errors,
};
use crate::backend::{BackendError, Reason};

/// Lines of a task's log in which a failure stands.
const LOG_LINES: u64 = 50;

/// Grows the root file system to a size in bytes. A disk that can not grow is no reason to be
/// without the workspace: how large it is shows while the container runs.
pub(super) async fn grow(cluster: &Cluster, place: &Place, size: u64) {
    let size_mib = size.div_ceil(1 << 20);
    let grown = match cluster.client.resize(&place.node, place.vmid, Disk::Rootfs, size_mib, None).await {
        Ok(Resize::Started(upid)) => see_grown(cluster, &upid).await,
        Ok(Resize::AlreadyThatSize) => Ok(()),
        Err(error) => Err(errors::from_client(&error)),
    };
    if let Err(error) = grown {
        tracing::warn!(vmid = %place.vmid, size, %error, "the disk could not be grown");
    }
}

/// The task ends well even when the file system on the disk did not grow.
async fn see_grown(cluster: &Cluster, upid: &Upid) -> Result<(), BackendError> {
    cluster.finish("growing the disk", upid).await?;
    let log = cluster.client.task_log_end(upid, LOG_LINES).await;
    if log.is_ok_and(|log| log.filesystem_did_not_grow()) {
        return Err(BackendError::new(Reason::Failed, "the disk grew, the file system on it did not"));
    }
    Ok(())
}
