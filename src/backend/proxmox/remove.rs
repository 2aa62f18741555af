//! Removing containers, or leaving them without a mark.

use std::time::Duration;

use tokio::time::{Instant, sleep};

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
/// Time between two looks for what may still begin.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a removal waits for a container that has only been begun.
const NAMED_WITHIN: Duration = Duration::from_secs(60);
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
    let removed = match last_found(cluster, body).await? {
        None => Ok(()),
        // What was never finished holds nobody's work.
        Some(found) if retain && found.is_finished() => release(cluster, &found).await,
        Some(found) => destroy(cluster, &found).await,
    };
    if removed.is_ok() {
        lock(&cluster.given_up).remove(&body.id);
        lock(&cluster.unanswered).remove(&body.id);
        lock(&cluster.promised).retain(|_, id| *id != body.id);
    }
    removed
}

/// What a body has. A request for a container that was not answered may be heard late, and a
/// container that has only been begun may be the body's: nothing is there only when neither is so.
async fn last_found(cluster: &Cluster, body: &BodyRef) -> Result<Option<Marked>, BackendError> {
    let patience = Instant::now() + NAMED_WITHIN;
    loop {
        if let Some(found) = inspect::of_body(cluster, body).await? {
            return Ok(Some(found));
        }
        let Some(place) = cluster.place_of(body)? else { return Ok(None) };
        let there = cluster.found(body).await?;
        let only_begun = there.is_some_and(|(_, there)| there.is_only_begun());
        if !only_begun && !cluster.may_begin_yet(body.id) {
            return inspect::of_body(cluster, body).await;
        }
        if only_begun && Instant::now() >= patience {
            return Err(errors::locked(place.vmid.get(), place.node.as_str(), Lock::Create));
        }
        sleep(INTERVAL).await;
    }
}

/// A creation that goes on meanwhile would make anew what is being removed.
fn give_up(cluster: &Cluster, body: &BodyRef) {
    lock(&cluster.given_up).insert(body.id);
}

/// Stops and removes a container, whatever protects it.
pub(super) async fn destroy(cluster: &Cluster, found: &Marked) -> Result<(), BackendError> {
    let (node, vmid) = (&found.place.node, found.place.vmid);
    if let Some(lock) = found.configuration.lock {
        return Err(errors::locked(vmid.get(), node.as_str(), lock));
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
