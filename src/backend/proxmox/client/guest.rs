//! What is seen of a container: its state, its addresses, its place in the cluster.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::{HardwareAddress, Lock, NodeName, PoolName, Tags, VmId, wire};

/// Whether a container runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RunState {
    /// It runs: not that its network or SSH is up.
    Running,
    /// It does not run.
    Stopped,
    /// Not known: a container that the cluster's list has not seen yet, or a node that is away.
    #[default]
    Unknown,
}

impl<'de> Deserialize<'de> for RunState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match wire::optional_text(deserializer)?.as_deref() {
            Some("running") => Self::Running,
            Some("stopped") => Self::Stopped,
            _ => Self::Unknown,
        })
    }
}

/// The state of a container on its node.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct ContainerStatus {
    /// Its number.
    pub vmid: VmId,
    /// Whether it runs.
    #[serde(default)]
    pub status: RunState,
    /// Its host name, or `CT<number>`.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub name: Option<String>,
    /// Processors.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub cpus: Option<f64>,
    /// Memory in bytes.
    #[serde(default, rename = "maxmem", deserialize_with = "wire::optional_number")]
    pub memory: Option<u64>,
    /// Size of its disk in bytes: while it runs that of the file system; 4 GiB while a clone has
    /// none.
    #[serde(default, rename = "maxdisk", deserialize_with = "wire::optional_number")]
    pub disk: Option<u64>,
    /// Its first process on the node, while it runs: one boot has one, and another boot another.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub pid: Option<u64>,
    /// For how many seconds it runs.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub uptime: Option<u64>,
    /// Tags.
    #[serde(default, deserialize_with = "tags")]
    pub tags: Tags,
    /// The operation that holds it.
    #[serde(default, deserialize_with = "lock")]
    pub lock: Option<Lock>,
    /// Whether it is a template.
    #[serde(default, deserialize_with = "wire::flag")]
    pub template: bool,
}

/// A container or virtual machine in the list of the cluster. The list is up to ten seconds old;
/// only `tags` and `lock` are live. Of a number that is used again it shows the name and state of
/// the previous owner for a while.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct ClusterGuest {
    /// Its number.
    pub vmid: VmId,
    /// Its node.
    pub node: NodeName,
    /// Whether it is a container.
    #[serde(rename = "type")]
    pub kind: GuestKind,
    /// Whether it runs.
    #[serde(default)]
    pub status: RunState,
    /// Tags.
    #[serde(default, deserialize_with = "tags")]
    pub tags: Tags,
    /// The operation that holds it.
    #[serde(default, deserialize_with = "lock")]
    pub lock: Option<Lock>,
    /// Whether it is a template.
    #[serde(default, deserialize_with = "wire::flag")]
    pub template: bool,
    /// Its pool.
    #[serde(default)]
    pub pool: Option<PoolName>,
}

/// What kind of guest has a number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum GuestKind {
    /// A container.
    #[serde(rename = "lxc")]
    Container,
    /// A virtual machine, or what a later release brought.
    #[serde(other)]
    Other,
}

/// A network interface inside a guest, with those that the guest made itself.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestInterface {
    /// Its name, as `eth0`.
    pub name: String,
    /// Its hardware address.
    pub hwaddr: Option<HardwareAddress>,
    /// Its addresses with their networks, local ones included.
    pub addresses: Vec<IpNet>,
}

#[derive(Deserialize)]
struct SentInterface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    hwaddr: Option<String>,
    #[serde(default, rename = "hardware-address")]
    hardware_address: Option<String>,
    #[serde(default)]
    inet: Option<String>,
    #[serde(default)]
    inet6: Option<String>,
    #[serde(default, rename = "ip-addresses", deserialize_with = "wire::list")]
    ip_addresses: Vec<SentAddress>,
}

#[derive(Deserialize)]
struct SentAddress {
    #[serde(default, rename = "ip-address")]
    address: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    prefix: Option<u8>,
}

impl<'de> Deserialize<'de> for GuestInterface {
    /// Older releases send one address of each family, later ones a list besides.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = SentInterface::deserialize(deserializer)?;
        let single = [&sent.inet, &sent.inet6].into_iter().flatten().filter_map(|text| network(text, None));
        let listed =
            sent.ip_addresses.iter().filter_map(|listed| network(listed.address.as_deref()?, listed.prefix));
        let mut addresses = Vec::new();
        for address in single.chain(listed) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let hwaddr = sent.hwaddr.or(sent.hardware_address).and_then(|text| text.parse().ok());
        Ok(Self { name: sent.name, hwaddr, addresses })
    }
}

fn network(text: &str, prefix: Option<u8>) -> Option<IpNet> {
    match (text.parse::<IpNet>(), text.parse::<IpAddr>(), prefix) {
        (Ok(network), ..) => Some(network),
        (_, Ok(address), Some(prefix)) => IpNet::new(address, prefix).ok(),
        (_, Ok(address), None) => Some(address.into()),
        _ => None,
    }
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tags, D::Error> {
    Ok(Tags::read(&wire::optional_text(deserializer)?.unwrap_or_default()))
}

fn lock<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Lock>, D::Error> {
    let name = wire::optional_text(deserializer)?;
    Ok(name.filter(|name| !name.is_empty()).map(|name| Lock::from(name.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_read_whatever_the_types_of_its_numbers() {
        for sent in [
            json!({"vmid": 105, "status": "running", "cpus": 2, "maxmem": 1, "template": 1, "lock": "disk"}),
            json!({"vmid": "105", "status": "running", "cpus": "2", "maxmem": "1", "template": "1",
                   "lock": "disk", "tags": "", "something": {"new": [1]}}),
        ] {
            let status: ContainerStatus = serde_json::from_value(sent).unwrap();
            assert_eq!((status.vmid.get(), status.status), (105, RunState::Running));
            assert_eq!((status.cpus, status.memory), (Some(2.0), Some(1)));
            assert_eq!((status.template, status.lock), (true, Some(Lock::Disk)));
        }
    }

    #[test]
    fn a_fresh_container_in_the_list_has_no_name() {
        let sent = json!({"id": "lxc/105", "vmid": 105, "node": "pve1", "type": "lxc", "status": "unknown"});
        let guest: ClusterGuest = serde_json::from_value(sent).unwrap();
        assert_eq!((guest.kind, guest.status), (GuestKind::Container, RunState::Unknown));
        let sent = json!({"vmid": 9, "node": "pve1", "type": "qemu"});
        assert!(
            serde_json::from_value::<ClusterGuest>(sent).is_err(),
            "a number out of bounds is not skipped"
        );
    }

    #[test]
    fn addresses_are_read_of_old_and_new_releases() {
        let old = json!({"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "10.0.0.5/24",
                         "inet6": "fe80::1/64"});
        let new = json!({"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "hardware-address": "bc:24:11:00:00:01",
                         "inet": "10.0.0.5/24", "inet6": "fe80::1/64", "ip-addresses": [
            {"ip-address": "10.0.0.5", "ip-address-type": "inet", "prefix": "24"},
            {"ip-address": "fe80::1", "ip-address-type": "inet6", "prefix": 64},
        ]});
        let old: GuestInterface = serde_json::from_value(old).unwrap();
        let new: GuestInterface = serde_json::from_value(new).unwrap();
        assert_eq!(old, new);
        assert_eq!(old.addresses, ["10.0.0.5/24".parse().unwrap(), "fe80::1/64".parse().unwrap()]);
    }
}
