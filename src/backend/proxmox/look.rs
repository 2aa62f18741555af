//! What the cluster looks like: one look for all workspaces, at intervals.
//!
//! The cluster itself is some 10 s behind with what it shows here, and shows a reused VMID with its
//! predecessor's name and state. So a look tells where to look closer, and never what is so.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    client::{ClusterGuest, GuestKind, NodeStatus, VmId},
    mark,
};
use crate::backend::{BodyId, HostState, InstanceId};

/// One look at a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Its nodes.
    pub(super) nodes: Vec<NodeStatus>,
    /// Everything that has a VMID, machines included.
    pub(super) guests: BTreeMap<VmId, ClusterGuest>,
    /// Why there was no look, in one line; what else is here is then from the last one.
    pub(super) failure: Option<String>,
    /// Whether there ever was one.
    pub(super) happened: bool,
}

impl Look {
    /// A look from what the cluster lists.
    pub(super) fn new(nodes: Vec<NodeStatus>, guests: Vec<ClusterGuest>) -> Self {
        let guests = guests.into_iter().map(|guest| (guest.vmid, guest)).collect();
        Self { nodes, guests, failure: None, happened: true }
    }

    /// The bodies of an instance that stand on the cluster, with their VMIDs.
    pub(super) fn bodies(&self, instance: &InstanceId) -> BTreeMap<BodyId, VmId> {
        let containers = self.guests.iter().filter(|(_, guest)| guest.kind == GuestKind::Container);
        containers.filter_map(|(vmid, guest)| Some((id_of(guest, instance)?, *vmid))).collect()
    }

    /// Every VMID that is in use.
    pub(super) fn vmids(&self) -> BTreeSet<u32> {
        self.guests.keys().map(|vmid| vmid.get()).collect()
    }

    /// The bodies that are not what they were at another look.
    pub(super) fn changed_since(&self, before: &Self, instance: &InstanceId) -> BTreeSet<BodyId> {
        let (then, now) = (before.bodies(instance), self.bodies(instance));
        let ids: BTreeSet<&BodyId> = then.keys().chain(now.keys()).collect();
        let of = |look: &Self, bodies: &BTreeMap<BodyId, VmId>, id: &BodyId| {
            bodies.get(id).map(|vmid| (*vmid, look.guests.get(vmid).cloned()))
        };
        ids.into_iter().filter(|id| of(before, &then, id) != of(self, &now, id)).copied().collect()
    }

    /// The nodes as hosts, of those that may be used; all where none are named.
    pub(super) fn hosts(&self, allowed: &BTreeSet<String>) -> Vec<HostState> {
        let mut hosts: Vec<HostState> = self
            .nodes
            .iter()
            .filter(|node| allowed.is_empty() || allowed.contains(node.node.as_str()))
            .map(|node| HostState {
                name: node.node.to_string(),
                unreachable: match (&self.failure, node.online) {
                    (Some(failure), _) => Some(failure.clone()),
                    (None, false) => Some("the cluster does not reach the node".to_owned()),
                    (None, true) => None,
                },
                memory_bytes: node.memory.unwrap_or_default(),
                memory_used_bytes: node.memory_used.unwrap_or_default(),
                cpus: node.cpus.unwrap_or_default(),
            })
            .collect();
        // Before the first look, and for a node that the cluster does not have.
        let missing = allowed.iter().filter(|name| !hosts.iter().any(|host| host.name == **name));
        let missing: Vec<HostState> = missing
            .map(|name| HostState {
                name: name.clone(),
                unreachable: Some(self.failure.clone().unwrap_or_else(|| {
                    let words =
                        if self.happened { "the cluster has no such node" } else { "not looked at yet" };
                    words.to_owned()
                })),
                memory_bytes: 0,
                memory_used_bytes: 0,
                cpus: 0,
            })
            .collect();
        hosts.extend(missing);
        hosts
    }
}

fn id_of(guest: &ClusterGuest, instance: &InstanceId) -> Option<BodyId> {
    let tags: BTreeSet<String> = guest.tags.0.iter().map(ToString::to_string).collect();
    mark::id_of(&tags, instance)
}
