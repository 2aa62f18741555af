//! Looking for what belongs to an owner, and for everything of this instance.

use super::{
    client::{GuestKind, VmId},
    cluster::{Cluster, Place},
    inspect::{self, Marked},
    mark::{self, Mark},
};
use crate::backend::{BackendError, BodyRef, Found, ItemKind, Known, OwnedItem, Owner};

/// What belongs to an owner.
pub(super) async fn find(cluster: &Cluster, owner: &Owner) -> Result<Vec<Found>, BackendError> {
    let marked = marked(cluster, None).await?;
    let ours = marked.into_iter().filter(|found| found.mark.owner == *owner);
    Ok(ours
        .map(|found| Found {
            incarnation: inspect::incarnation(&found),
            body: BodyRef {
                host: found.place.node.to_string(),
                id: found.mark.id,
                owner: owner.clone(),
                known: Known { number: Some(found.place.vmid.get()), host_key: None },
            },
        })
        .collect())
}

/// Everything of this instance on a node.
pub(super) async fn list(cluster: &Cluster, host: &str) -> Result<Vec<OwnedItem>, BackendError> {
    let marked = marked(cluster, Some(host)).await?;
    let item = |found: Marked| OwnedItem {
        kind: ItemKind::Container,
        name: format!("CT {}", found.place.vmid),
        id: found.mark.id,
        owner: Some(found.mark.owner),
        known: Known { number: Some(found.place.vmid.get()), host_key: None },
    };
    Ok(marked.into_iter().map(item).collect())
}

/// The containers with this instance's mark. Tags tell of those that are finished; what was cut off
/// while it was made has only its notes, and stands in one of our ranges.
async fn marked(cluster: &Cluster, host: Option<&str>) -> Result<Vec<Marked>, BackendError> {
    let look = cluster.look_now().await?;
    let ranges = &cluster.config.vmids;
    let may_be_ours = |vmid: VmId, tags: &std::collections::BTreeSet<String>| {
        let in_range = ranges.workspaces.contains(vmid.get()) || ranges.templates.contains(vmid.get());
        tags.contains(&mark::instance_tag(&cluster.instance)) || in_range
    };
    let mut found = Vec::new();
    for (vmid, guest) in &look.guests {
        let tags = guest.tags.0.iter().map(ToString::to_string).collect();
        let here = host.is_none_or(|host| guest.node.as_str() == host);
        if guest.kind != GuestKind::Container || !here || !may_be_ours(*vmid, &tags) {
            continue;
        }
        let place = Place { node: guest.node.clone(), vmid: *vmid };
        let Some(configuration) = cluster.configuration(&place).await? else { continue };
        if let Some(mark) = Mark::read(&configuration.description)
            && mark.instance == cluster.instance
        {
            found.push(Marked { place, configuration, mark });
        }
    }
    Ok(found)
}
