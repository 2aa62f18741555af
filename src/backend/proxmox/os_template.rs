//! OS templates: the archives that Proxmox VE makes containers from, and where they and the disks
//! of such containers are kept.

use std::cmp::Ordering;

use tokio::sync::watch;

use super::{
    client::{Appliance, Content, NodeName, Storage, StorageName, VolumeId},
    cluster::Cluster,
    errors,
};
use crate::backend::{BackendError, Infrastructure, Reason};

/// The newest archive whose name begins so, downloaded when no storage of the node has one.
pub(super) async fn find_or_fetch(
    cluster: &Cluster,
    node: &NodeName,
    wanted: &str,
    progress: &watch::Sender<String>,
) -> Result<VolumeId, BackendError> {
    let client = &cluster.client;
    let refused = |error| errors::from_client(&error);
    let storages = client.storages(node, Some(Content::Archives)).await.map_err(refused)?;
    let storages: Vec<Storage> = storages.into_iter().filter(is_usable).collect();
    let mut found = Vec::new();
    for storage in &storages {
        let volumes = client.stored_volumes(node, &storage.name, Content::Archives).await.map_err(refused)?;
        found.extend(volumes.into_iter().map(|volume| volume.volid));
    }
    if let Some(volume) = newest(found.iter().filter(|volume| is_of(file_of(volume), wanted)), |v| file_of(v))
    {
        return volume.parse().map_err(|error| BackendError::new(Reason::Failed, error));
    }
    let offered = client.appliances(node).await.map_err(refused)?;
    let matching = offered.iter().filter(|appliance| is_of(&appliance.template, wanted));
    let Some(appliance) = newest(matching, |appliance: &&Appliance| &appliance.template) else {
        let words = format!("no storage of {node} has an OS template {wanted:?}, and none can be downloaded");
        return Err(BackendError::new(Reason::ImageNotFound, words));
    };
    let Some(storage) = storages.first() else {
        let words =
            format!("no storage of {node} takes OS templates (content vztmpl), or the token may see none");
        return Err(BackendError::new(Reason::Unsupported, words));
    };
    progress.send_replace(format!("downloading {}", appliance.template));
    let upid = client.download_appliance(node, &storage.name, appliance).await.map_err(refused)?;
    cluster.finish("the download", &upid).await?;
    let volume = format!("{}:vztmpl/{}", storage.name, appliance.template);
    volume.parse().map_err(|error| BackendError::new(Reason::Failed, error))
}

/// The storage for a container's disk: the one asked for, else the one with the most room.
pub(super) async fn disk_storage(
    cluster: &Cluster,
    node: &NodeName,
    infrastructure: &Infrastructure,
) -> Result<StorageName, BackendError> {
    if let Some(storage) = &infrastructure.storage {
        return storage.parse().map_err(|error| BackendError::new(Reason::Unsupported, error));
    }
    let storages = cluster.client.storages(node, Some(Content::ContainerDisks)).await;
    let storages = storages.map_err(|error| errors::from_client(&error))?;
    let roomiest = storages.into_iter().filter(is_usable).max_by_key(|storage| storage.available);
    roomiest.map(|storage| storage.name).ok_or_else(|| {
        let words = format!(
            "no storage of {node} takes disks of containers (content rootdir), or the token may see none"
        );
        BackendError::new(Reason::Unsupported, words)
    })
}

/// Whether something can be put on a storage now.
pub(super) fn is_usable(storage: &Storage) -> bool {
    storage.active && storage.enabled
}

fn file_of(volume: &str) -> &str {
    volume.rsplit('/').next().unwrap_or(volume)
}

/// Whether a file is what was asked for: its whole name, or the beginning of it up to a `_`.
fn is_of(file: &str, wanted: &str) -> bool {
    file == wanted || file.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('_'))
}

fn newest<T: Clone>(all: impl Iterator<Item = T>, file: impl Fn(&T) -> &str) -> Option<T> {
    all.max_by(|one, other| by_version(file(one), file(other)))
}

/// Compares numbers in names as numbers: 12.10 comes after 12.9.
fn by_version(one: &str, other: &str) -> Ordering {
    numbers(one).cmp(&numbers(other)).then_with(|| one.cmp(other))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("debian-12-standard_12.7-1_amd64.tar.zst", "debian-12-standard", true)]
    #[case("debian-12-standard_12.7-1_amd64.tar.zst", "debian-12-standard_12.7-1_amd64.tar.zst", true)]
    #[case("debian-12-standard_12.7-1_amd64.tar.zst", "debian-12", false)]
    #[case("debian-12-turnkey_12.7-1_amd64.tar.zst", "debian-12-standard", false)]
    fn names(#[case] file: &str, #[case] wanted: &str, #[case] expected: bool) {
        assert_eq!(is_of(file, wanted), expected);
    }

    #[test]
    fn the_newest_is_taken() {
        let files = ["d_12.9-1_amd64", "d_12.10-1_amd64", "d_12.2-3_amd64"];
        assert_eq!(newest(files.iter(), |file| file), Some(&"d_12.10-1_amd64"));
    }
}
