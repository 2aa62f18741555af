//! What a Workspace says about its network, in the container's configuration and inside.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde_json::json;

use super::{least, on_the_shared_cluster, remove, vmid_of};
use crate::support::{
    objects::*,
    proxmox::{Cluster, TEMPLATE},
};

/// The first interface, as it is stored.
fn net0(cluster: &Cluster, vmid: u32) -> String {
    let text = cluster.text(vmid).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("net0: "));
    line.expect("it has an interface").to_owned()
}

fn hardware_address(interface: &str) -> &str {
    let address = interface.split(',').find_map(|part| part.strip_prefix("hwaddr="));
    address.expect("it has a hardware address")
}

/// The hardware addresses that were sent for the first interface of a container.
fn sent(cluster: &Cluster, vmid: u32) -> BTreeSet<String> {
    let end = format!("/lxc/{vmid}/config");
    let calls = cluster.recorded();
    let of_it = calls.iter().filter(|call| call.method == "PUT" && call.path.ends_with(&end));
    let interfaces = of_it.filter_map(|call| call.parameters.get("net0")?.as_deref());
    interfaces.map(|interface| hardware_address(interface).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn address_bridge_vlan_and_hardware_address_stay_for_the_containers_life() {
    let (cluster, mut operator, namespace) =
        on_the_shared_cluster("pve-network", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    let (subnet, gateway) = cluster.second_bridge().await.clone();
    let subnet: Ipv4Net = subnet.parse().unwrap();
    // Far from where Docker begins to give addresses out.
    let address = subnet.hosts().last().unwrap();
    let fixed = format!("{address}/{}", subnet.prefix_len());
    let creating = moment(&namespace, "one", |found| step_of(found) == Some("CreatingContainer")).await;
    let network = json!({"bridge": "vmbr1", "vlan": 20, "static": {"address": fixed, "gateway": gateway}});
    workspace(&namespace, "one", least(json!({"network": network}))).await;
    creating.await;
    // What was done of it is done again.
    operator.kill().await;
    operator.restart().await;

    let made = ready(&namespace, "one").await;
    assert_eq!(made.status.clone().unwrap().container.unwrap().ip, Some(address.to_string()));
    let vmid = vmid_of(&made);
    let first = net0(cluster, vmid);
    let hwaddr = hardware_address(&first).to_owned();
    assert_eq!(
        first,
        format!("name=eth0,bridge=vmbr1,gw={gateway},hwaddr={hwaddr},ip={fixed},tag=20,type=veth")
    );
    let inside = "ip -4 -o address show dev eth0 | awk '{print $4}'; ip route show default | awk '{print $3}'; cat /sys/class/net/eth0/address";
    let expected = format!("{fixed}\n{gateway}\n{}", hwaddr.to_lowercase());
    assert_eq!(cluster.exec(vmid, "root", inside), expected);

    patch(&namespace, "one", json!({"spec": {"restartNonce": "first"}})).await;
    until(&namespace, "one", "restarted", |found| {
        found.status.clone().unwrap_or_default().observed_restart_nonce.is_some()
            && condition(found, "Ready").starts_with("True")
    })
    .await;
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    phase(&namespace, "one", "Suspended").await;
    let again = json!({"spec": {"operatingMode": "Running", "env": [{"name": "A", "value": "b"}]}});
    patch(&namespace, "one", again).await;
    ready(&namespace, "one").await;
    assert_eq!(net0(cluster, vmid), first);
    assert_eq!(cluster.exec(vmid, "root", inside), expected);
    assert_eq!(sent(cluster, vmid), [hwaddr].into(), "every change names the address that is there");
    remove(&namespace, "one").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_the_node_does_not_have_is_named() {
    let (_, _operator, namespace) =
        on_the_shared_cluster("pve-network", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    workspace(&namespace, "one", least(json!({"network": {"bridge": "vmbr9"}}))).await;
    let refused = broken(&namespace, "one", "Unsupported").await;
    assert!(condition(&refused, "Ready").contains("vmbr9"), "{}", describe(&refused));
    remove(&namespace, "one").await;
    namespace.delete().await;
}
