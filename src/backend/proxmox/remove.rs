//! Removing containers, or leaving them without a mark.

use std::time::Duration;

use super::{
    client::{Change, DeleteRequest, Lock},
    cluster::{Cluster, lock},
    errors,
    inspect::{self, Marked},
    mark, power,
};
use crate::backend::{BackendError, BodyRef, ContainerRef};

/// What processes get to end before a container is removed.
const GRACE: Duration = Duration::from_secs(5);
/// On a container that was left for somebody.
const TAG_RETAINED: &str = "berth-retained";

/// Removes one container. One that is gone is success.
pub(super) async fn remove_container(
    cluster: &Cluster,
    container: &ContainerRef,
) -> Result<(), BackendError> {
    let _changing = cluster.bodies.lock(container.body.id).await;
    match inspect::of_body(cluster, &container.body).await? {
        Some(found) if found.mark.incarnation == container.incarnation => destroy(cluster, &found).await,
        _ => Ok(()),
    }
}

/// Removes what a body has; retained, its container stays, stopped and without a mark: on Proxmox
/// the files are in it.
pub(super) async fn remove(cluster: &Cluster, body: &BodyRef, retain: bool) -> Result<(), BackendError> {
    give_up(cluster, body);
    let _changing = cluster.bodies.lock(body.id).await;
    let removed = match inspect::of_body(cluster, body).await? {
        None => Ok(()),
        // What was never finished holds nobody's work.
        Some(found) if retain && found.is_finished() => release(cluster, &found).await,
        Some(found) => destroy(cluster, &found).await,
    };
    if removed.is_ok() {
        lock(&cluster.given_up).remove(&body.id);
        lock(&cluster.promised).retain(|_, id| *id != body.id);
    }
    removed
}

/// A creation that goes on meanwhile would make anew what is being removed.
fn give_up(cluster: &Cluster, body: &BodyRef) {
    lock(&cluster.given_up).insert(body.id);
}

/// Stops and removes a container, whatever protects it.
pub(super) async fn destroy(cluster: &Cluster, found: &Marked) -> Result<(), BackendError> {
    let (node, vmid) = (&found.place.node, found.place.vmid);
    match found.configuration.lock {
        // Left by a removal that was cut off: removing goes on all the same.
        None | Some(Lock::Destroyed) => {}
        Some(lock) => return Err(errors::locked(vmid.get(), node.as_str(), lock)),
    }
    if !found.configuration.template {
        power::stop_at(cluster, &found.place, GRACE).await?;
    }
    if found.configuration.protection {
        let change = Change { protection: Some(false), ..Change::default() };
        let changed = cluster.client.change_configuration(node, vmid, &change, None).await;
        changed.map_err(|error| errors::from_client(&error))?;
    }
    let request = DeleteRequest { force: false, purge: true, unreferenced_disks: true };
    let ended = match cluster.client.delete_container(node, vmid, request).await {
        Ok(upid) => cluster.finish("the removal", &upid).await,
        Err(error) => Err(errors::from_client(&error)),
    };
    let Err(failure) = ended else { return Ok(()) };
    // Somebody else may have removed it, or the answer was lost.
    match cluster.configuration(&found.place).await {
        Ok(None) => Ok(()),
        _ => Err(failure),
    }
}

async fn release(cluster: &Cluster, found: &Marked) -> Result<(), BackendError> {
    power::stop_at(cluster, &found.place, GRACE).await?;
    let present = found.configuration.tags.0.iter().map(ToString::to_string).collect();
    let tags = mark::merge_tags(&present, [TAG_RETAINED.to_owned()]);
    let notes = format!(
        "{}\nRetained when {} was deleted.",
        mark::without_mark(&found.configuration.description),
        found.mark.owner
    );
    let change = Change {
        description: Some(notes.trim_start().to_owned()),
        tags: Some(tags.iter().filter_map(|tag| tag.parse().ok()).collect()),
        on_boot: Some(false),
        ..Change::default()
    };
    let (node, vmid) = (&found.place.node, found.place.vmid);
    let digest = Some(&found.configuration.digest);
    let changed = cluster.client.change_configuration(node, vmid, &change, digest).await;
    changed.map_err(|error| errors::from_client(&error))
}
