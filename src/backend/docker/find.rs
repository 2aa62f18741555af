//! Looking for what belongs to an owner, and for everything of this instance.

use std::collections::BTreeSet;

use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::{
    containers::{self, Listed},
    host::{Host, LOOK},
    labels, owner_file, volumes,
};
use crate::backend::{
    BackendError, BodyId, BodyRef, ContainerName, Found, Incarnation, ItemKind, OwnedItem, Owner,
};

/// What belongs to an owner on this host: by the names of containers and the mark inside them,
/// and by the labels of volumes that have no container.
pub(super) async fn find(host: &Host, owner: &Owner) -> Result<Vec<Found>, BackendError> {
    let (containers, volumes) =
        futures::try_join!(containers::of_instance(host), volumes::of_instance(host))?;
    let part = ContainerName::owner_part(owner);
    let first_owner = |id: BodyId| {
        let mut labelled = volumes.iter().filter(|volume| labels::id(&volume.labels) == Some(id));
        labelled.find_map(|volume| labels::owner(&volume.labels))
    };

    let mut found: Vec<Found> = Vec::new();
    // Newest incarnation first: that is the one to report.
    for container in containers.iter().rev() {
        let known = found.iter().any(|found| found.body.id == container.id);
        if known || container.owner_part().as_ref() != Some(&part) {
            continue;
        }
        if is_marked(host, container, owner, first_owner(container.id)).await? {
            found.push(Found { body: body(host, container.id, owner), incarnation: container.incarnation });
        }
    }
    let with_container: BTreeSet<BodyId> = containers.iter().map(|container| container.id).collect();
    let alone: BTreeSet<BodyId> = volumes
        .iter()
        .filter(|volume| labels::owner(&volume.labels).as_ref() == Some(owner))
        .filter_map(|volume| labels::id(&volume.labels))
        .filter(|id| !with_container.contains(id))
        .collect();
    found.extend(
        alone.into_iter().map(|id| Found { body: body(host, id, owner), incarnation: Incarnation::NONE }),
    );
    Ok(found)
}

fn body(host: &Host, id: BodyId, owner: &Owner) -> BodyRef {
    BodyRef { host: host.name.clone(), id, owner: owner.clone(), known: crate::backend::Known::default() }
}

async fn is_marked(
    host: &Host,
    container: &Listed,
    owner: &Owner,
    first_owner: Option<Owner>,
) -> Result<bool, BackendError> {
    Ok(match owner_file::read(host, &container.docker_id).await? {
        Some(file) => {
            file.owner == *owner
                && file.id == container.id.to_string()
                && file.instance == host.instance.to_string()
        }
        // Its creation was interrupted: nobody can have worked in it.
        None => container.only_created && first_owner.is_none_or(|first| first == *owner),
    })
}

/// Everything on this host that carries the instance's mark.
pub(super) async fn list(host: &Host) -> Result<Vec<OwnedItem>, BackendError> {
    let filters = labels::instance_filters(&host.instance);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let (containers, networks, volumes) = futures::try_join!(
        containers::of_instance(host),
        host.call("list networks", LOOK, host.docker.list_networks(Some(options))),
        volumes::of_instance(host),
    )?;
    let containers =
        containers.into_iter().map(|found| (ItemKind::Container, Some(found.name), Some(found.id)));
    let networks = networks
        .into_iter()
        .map(|found| (ItemKind::Network, found.name, found.labels.as_ref().and_then(labels::id)));
    let volumes = volumes.into_iter().map(|found| {
        let id = labels::id(&found.labels);
        (ItemKind::Volume, Some(found.name), id)
    });
    Ok(containers
        .chain(networks)
        .chain(volumes)
        .filter_map(|(kind, name, id)| Some(OwnedItem::named(kind, name?, id?)))
        .collect())
}
