//! Names and labels of everything that the simulator makes in Docker, so that all of it is found
//! again.

use std::collections::HashMap;

/// The label with the cluster's name, on containers, networks and images.
pub(super) const CLUSTER: &str = "dev.berth.proxmox-simulator.cluster";
/// The label with a container's number.
const VMID: &str = "dev.berth.proxmox-simulator.vmid";
/// The label of an image: the file system that it is a copy of.
pub(super) const COPY_OF: &str = "dev.berth.proxmox-simulator.copy-of";

/// The name of a container.
pub(super) fn container_name(cluster: &str, vmid: u32) -> String {
    format!("pve-sim-{cluster}-{vmid}")
}

/// The name of the network of a bridge.
pub(super) fn network_name(cluster: &str, bridge: &str) -> String {
    format!("pve-sim-{cluster}-{bridge}")
}

/// The labels of a container.
pub(super) fn of_container(cluster: &str, vmid: u32) -> HashMap<String, String> {
    let mut labels = of_cluster(cluster);
    labels.insert(VMID.to_owned(), vmid.to_string());
    labels
}

/// The labels of an image.
pub(super) fn of_copy(cluster: &str, source: &str) -> HashMap<String, String> {
    let mut labels = of_cluster(cluster);
    labels.insert(COPY_OF.to_owned(), source.to_owned());
    labels
}

/// What everything of a cluster has.
pub(super) fn of_cluster(cluster: &str) -> HashMap<String, String> {
    HashMap::from([(CLUSTER.to_owned(), cluster.to_owned())])
}

/// The filter for everything of one cluster, or of all.
pub(super) fn filter(cluster: Option<&str>) -> HashMap<String, Vec<String>> {
    let label = match cluster {
        Some(cluster) => format!("{CLUSTER}={cluster}"),
        None => CLUSTER.to_owned(),
    };
    HashMap::from([("label".to_owned(), vec![label])])
}
