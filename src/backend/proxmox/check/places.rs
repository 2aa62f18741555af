//! What containers stand on: nodes, templates, the pool, storages and bridges.

use std::collections::BTreeSet;

use super::{
    finding::{Finding, quoted, shown},
    needs::KnownTemplate,
};
use crate::{
    backend::proxmox::{
        client::{
            Client, ClusterGuest, Content, Failure, GuestKind, InterfaceName, NodeName, PoolName, Storage,
            StorageName, View, VmId,
        },
        os_template::is_usable,
    },
    config::ProxmoxBackend,
};

const TUN: &str = "/dev/net/tun";
/// Templates that are shown when none is asked for.
const MOST_TEMPLATES: usize = 20;

/// The nodes that may be used. Returns those that are there.
pub(super) async fn nodes(client: &Client, config: &ProxmoxBackend) -> (Vec<NodeName>, Vec<Finding>) {
    let all = match client.nodes().await {
        Ok(all) => all,
        Err(error) => return (Vec::new(), vec![Finding::missing("nodes", format!("listed: {error}"))]),
    };
    let mut online = Vec::new();
    let mut findings = Vec::new();
    let may_be_used =
        |name: &NodeName| config.nodes.is_empty() || config.nodes.iter().any(|node| node == name.as_str());
    for node in all.iter().filter(|node| may_be_used(&node.node)) {
        let subject = format!("node {}", node.node);
        if !node.online {
            findings.push(Finding::doubtful(subject, "not online"));
            continue;
        }
        online.push(node.node.clone());
        findings.push(Finding::fine(
            subject,
            match (node.cpus, node.memory) {
                (Some(cpus), Some(memory)) => format!("online, {cpus} CPUs, {} MiB of memory", memory >> 20),
                _ => "online".to_owned(),
            },
        ));
    }
    for name in config.nodes.iter().filter(|name| !all.iter().any(|node| node.node.as_str() == *name)) {
        findings.push(Finding::missing(format!("node {name}"), "there: the cluster has no such node"));
    }
    if online.is_empty() {
        findings.push(Finding::missing("nodes", "online: there is none to use"));
    }
    (online, findings)
}

/// Everything that has a VMID, as far as the token sees it.
pub(super) async fn guests(client: &Client) -> (Vec<ClusterGuest>, Vec<Finding>) {
    match client.guests().await {
        Ok(guests) => (guests, Vec::new()),
        Err(error) => (Vec::new(), vec![Finding::missing("containers", format!("listed: {error}"))]),
    }
}

/// Templates: those that were asked for, else all that are seen.
pub(super) async fn templates(
    client: &Client,
    guests: &[ClusterGuest],
    asked: &[u32],
) -> (Vec<KnownTemplate>, Vec<Finding>) {
    let mut known = Vec::new();
    let mut findings = Vec::new();
    if asked.is_empty() {
        let all = guests.iter().filter(|guest| guest.template && guest.kind == GuestKind::Container);
        for guest in all.take(MOST_TEMPLATES) {
            // Nobody says that it is to be used, so nothing is needed on its storage.
            findings.push(template(client, guest).await.1);
        }
    }
    for number in asked {
        let guest = VmId::new(*number).and_then(|vmid| guests.iter().find(|guest| guest.vmid == vmid));
        match guest.filter(|guest| guest.kind == GuestKind::Container) {
            Some(guest) => {
                let (storage, finding) = template(client, guest).await;
                known.push(KnownTemplate { vmid: guest.vmid, storage });
                findings.push(finding);
            }
            None => {
                // It may be there, and not be seen.
                known.extend(VmId::new(*number).map(|vmid| KnownTemplate { vmid, storage: None }));
                let words = "there: the cluster has no such container, or the token may not see it";
                findings.push(Finding::missing(format!("template {number}"), words));
            }
        }
    }
    (known, findings)
}

async fn template(client: &Client, guest: &ClusterGuest) -> (Option<StorageName>, Finding) {
    let (node, vmid) = (&guest.node, guest.vmid);
    let subject = format!("template {vmid}");
    let configuration = match client.configuration(node, vmid, View::Current).await {
        Ok(configuration) => configuration,
        Err(error) => return (None, Finding::missing(subject, format!("readable: {error}"))),
    };
    let volume = configuration.rootfs.as_ref().and_then(|rootfs| rootfs.volume.split_once(':'));
    let storage: Option<StorageName> = volume.and_then(|(storage, _)| storage.parse().ok());
    if !configuration.template {
        let finding = Finding::missing(subject, format!("a template: CT {vmid} on {node} is a container"))
            .mended_by(format!("pct template {vmid}"));
        return (storage, finding);
    }
    let place = match &storage {
        Some(storage) => format!("on node {node}, storage {storage}"),
        None => format!("on node {node}"),
    };
    let finding = if configuration.has_device(TUN) {
        Finding::fine(subject, format!("{place}, with {TUN}"))
    } else {
        Finding::doubtful(subject, format!("{place}, without {TUN}: for VPNs in workspaces it needs"))
            .mended_by(format!("pct set {vmid} --dev0 {TUN}"))
    };
    (storage, finding)
}

/// The pool, if there is to be one.
pub(super) async fn pool(client: &Client, config: &ProxmoxBackend) -> Option<Finding> {
    let text = config.pool.as_ref()?;
    let subject = format!("pool {text}");
    let name: PoolName = match text.parse() {
        Ok(name) => name,
        Err(error) => return Some(Finding::missing(subject, format!("usable: {error}"))),
    };
    let add = format!("pveum pool add {}", quoted(text));
    Some(match client.pool(&name).await {
        Ok(Some(pool)) => Finding::fine(subject, format!("{} container(s) and machines", pool.guests.len())),
        Ok(None) => Finding::missing(subject, "there").mended_by(add),
        Err(error) if matches!(error.failure, Failure::Denied { .. }) => {
            Finding::doubtful(subject, "the token may not see whether it is there (Pool.Audit)")
                .mended_by(add)
        }
        Err(error) => Finding::missing(subject, format!("known: {}", error.failure)),
    })
}

/// The storages for disks on a node.
pub(super) async fn storages(client: &Client, node: &NodeName, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let there = match client.storages(node, None).await {
        Ok(there) => there,
        Err(error) => {
            return vec![Finding::missing(format!("storages of {node}"), format!("listed: {error}"))];
        }
    };
    let archives = os_templates(node, &there);
    if wanted.is_empty() {
        let any = there.iter().any(|storage| takes_disks(storage) && storage.active);
        let subject = format!("storages of {node}");
        let disks = if any {
            Finding::fine(subject, "there is one for disks of containers")
        } else {
            Finding::missing(subject, "for disks of containers (content rootdir), as far as the token sees")
        };
        return vec![disks, archives];
    }
    let of_name = |name: &String| there.iter().find(|storage| storage.name.as_str() == name);
    wanted.iter().map(|name| storage(node, name, of_name(name))).chain([archives]).collect()
}

/// The storage of each node that OS templates are downloaded to.
pub(super) async fn archives(client: &Client, nodes: &[NodeName]) -> BTreeSet<StorageName> {
    let mut names = BTreeSet::new();
    for node in nodes {
        // That they can not be listed is said where they are looked at.
        let storages = client.storages(node, Some(Content::Archives)).await.unwrap_or_default();
        names.extend(storages.into_iter().find(is_usable).map(|storage| storage.name));
    }
    names
}

/// Templates that the operator builds begin with an archive.
fn os_templates(node: &NodeName, there: &[Storage]) -> Finding {
    let takes =
        |storage: &&Storage| storage.active && storage.content.iter().any(|content| content == "vztmpl");
    let subject = format!("OS templates on {node}");
    match there.iter().find(takes) {
        Some(storage) => Finding::fine(subject, format!("storage {}", storage.name)),
        None => Finding::doubtful(
            subject,
            "the token sees no storage for them (content vztmpl): Templates with osTemplate need one",
        ),
    }
}

fn takes_disks(storage: &Storage) -> bool {
    storage.content.iter().any(|content| content == "rootdir")
}

fn storage(node: &NodeName, name: &str, found: Option<&Storage>) -> Finding {
    let subject = format!("storage {name} on {node}");
    let Some(storage) = found else {
        return Finding::missing(subject, "there, or the token may not see it").mended_by("pvesm status");
    };
    if !takes_disks(storage) {
        let content: Vec<String> =
            storage.content.iter().map(|content| shown(content)).chain(["rootdir".to_owned()]).collect();
        return Finding::missing(subject, "for disks of containers: its content is without rootdir")
            .mended_by(format!("pvesm set {} --content {}", quoted(name), quoted(&content.join(","))));
    }
    if !storage.enabled {
        return Finding::missing(subject, "enabled")
            .mended_by(format!("pvesm set {} --disable 0", quoted(name)));
    }
    if !storage.active {
        return Finding::missing(subject, "active: the node can not use it now").mended_by("pvesm status");
    }
    let free = storage.available.map_or("an unknown number of".to_owned(), |bytes| (bytes >> 30).to_string());
    Finding::fine(subject, format!("{}, {free} GiB free", shown(&storage.kind)))
}

/// The bridges of a node.
pub(super) async fn bridges(client: &Client, node: &NodeName, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let there = match client.bridges(node).await {
        Ok(there) => there,
        Err(error) => {
            return vec![Finding::missing(format!("bridges of {node}"), format!("listed: {error}"))];
        }
    };
    let of_name = |name: &String| {
        let subject = format!("bridge {name} on {node}");
        let is_there = name.parse::<InterfaceName>().is_ok_and(|name| there.contains(&name));
        if is_there {
            Finding::fine(subject, "there")
        } else {
            Finding::missing(subject, "there, or the token may not see it")
                .mended_by(format!("ip link show {} type bridge    # on {node}", quoted(name)))
        }
    };
    wanted.iter().map(of_name).collect()
}
