//! What the configuration of a container is to be. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    client::{Address, Change, Configuration, NetworkInterface, Setting, Tag, Tags, VlanTag},
    mark::{self, Mark},
};
use crate::{
    backend::{BackendError, ContainerSpec, DnsMode, Reason},
    config::ProxmoxBackend,
};

/// Changes of a clone's configuration, to be made one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Everything but the tags. A change that fails may be half made, so what says that the
    /// container is finished is not in it.
    pub(super) settings: Change,
    /// The tags: with them the container is finished.
    pub(super) tags: Tags,
    /// How large the root file system is to be, in bytes, where it is to grow.
    pub(super) root_size: Option<u64>,
}

/// What a clone, or a container that is adopted, is to become.
pub(super) fn wanted(
    spec: &ContainerSpec,
    config: &ProxmoxBackend,
    present: &Configuration,
    mark: &Mark,
) -> Result<Wanted, BackendError> {
    let (whole, fraction) = (spec.cpu_millis / 1000, spec.cpu_millis % 1000);
    let cores = u32::try_from(whole + u64::from(fraction > 0)).unwrap_or(u32::MAX);
    let limit = if fraction == 0 { Setting::Unset } else { Setting::Set(spec.cpu_millis as f64 / 1000.0) };
    let settings = Change {
        hostname: Some(spec.hostname.parse().map_err(|error| unusable("host name", &error))?),
        description: Some(mark.write(&present.description)),
        cores: Setting::Set(cores.max(1)),
        cpu_limit: if limit == Setting::Unset && present.cpu_limit.is_none() { Setting::Keep } else { limit },
        memory: Some(spec.memory_bytes.div_ceil(1 << 20)),
        on_boot: Some(config.onboot),
        // A protected template hands its protection on, and the clone could never be removed.
        protection: present.protection.then_some(false),
        nameservers: nameservers(spec, config),
        networks: [(0, Setting::Set(network(spec, config, present)?))].into(),
        ..Change::default()
    };
    let inherited: BTreeSet<String> = present.tags.0.iter().map(ToString::to_string).collect();
    let ours = mark.tags().into_iter().chain(spec.infrastructure.tags.iter().cloned());
    let tags = mark::merge_tags(&inherited, ours).iter().filter_map(|tag| tag.parse::<Tag>().ok()).collect();
    let size = present.rootfs.as_ref().and_then(|rootfs| rootfs.size);
    let root_size = spec.infrastructure.disk_bytes.filter(|wanted| size.is_none_or(|size| *wanted > size));
    Ok(Wanted { settings, tags, root_size })
}

/// Servers that the node writes into the container at each start. Where it is not to, the file is
/// written inside.
fn nameservers(spec: &ContainerSpec, config: &ProxmoxBackend) -> Option<Vec<IpAddr>> {
    let own = Some(spec.dns_servers.clone()).filter(|servers| !servers.is_empty());
    match spec.infrastructure.dns_mode.unwrap_or(DnsMode::Static) {
        DnsMode::Host => None,
        DnsMode::Static | DnsMode::Tailscale => Some(own.unwrap_or_else(|| config.dns.servers())),
    }
}

/// The first interface, in the place of the one that is there: its hardware address stays.
fn network(
    spec: &ContainerSpec,
    config: &ProxmoxBackend,
    present: &Configuration,
) -> Result<NetworkInterface, BackendError> {
    let infrastructure = &spec.infrastructure;
    let bridge = infrastructure.bridge.as_deref().unwrap_or(&config.bridge);
    let name = "eth0".parse().map_err(|error| unusable("interface", &error))?;
    let mut interface = NetworkInterface::new(name);
    interface.bridge = Some(bridge.parse().map_err(|error| unusable("bridge", &error))?);
    interface.tag = infrastructure.vlan.and_then(VlanTag::new);
    match infrastructure.address.map(|fixed| (fixed.address, fixed.gateway)) {
        None => interface.ip = Some(Address::Dhcp),
        Some((IpNet::V4(address), IpAddr::V4(gateway))) => {
            interface.ip = Some(Address::Static(address));
            interface.gateway = Some(gateway);
        }
        Some((IpNet::V6(address), IpAddr::V6(gateway))) => {
            interface.ip6 = Some(Address::Static(address));
            interface.gateway6 = Some(gateway);
        }
        Some((address, gateway)) => {
            return Err(unusable("static address", &format!("{address} and {gateway} are of two kinds")));
        }
    }
    match present.network(0) {
        Some(Ok(present)) => Ok(interface.in_place_of(&present)),
        Some(Err(error)) => Err(unusable("net0 of the template", &error)),
        None => Ok(interface),
    }
}

fn unusable(what: &str, error: &dyn std::fmt::Display) -> BackendError {
    BackendError::new(Reason::Unsupported, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{FixedAddress, Incarnation, Infrastructure, InstanceId, Owner};

    fn config() -> ProxmoxBackend {
        serde_yaml::from_str(
            "endpoints: ['https://pve1:8006']\ntoken: {id: 'a@pve!b', secretFile: /s}\nssh: {keyFile: /k}",
        )
        .unwrap()
    }

    fn spec(infrastructure: Infrastructure) -> ContainerSpec {
        ContainerSpec {
            incarnation: Incarnation(1),
            image: "vmid:9000".into(),
            user: "dev".into(),
            hostname: "web".into(),
            cpu_millis: 1500,
            memory_bytes: 2 << 30,
            pids: 100,
            dns_servers: Vec::new(),
            infrastructure,
        }
    }

    fn mark() -> Mark {
        Mark {
            instance: InstanceId("i".into()),
            id: "0011223344556677".parse().unwrap(),
            incarnation: Incarnation(1),
            owner: Owner { namespace: "ns".into(), name: "web".into(), uid: "u".into() },
        }
    }

    fn clone() -> Configuration {
        serde_json::from_value(serde_json::json!({
            "digest": "1", "tags": "node;berth-id-ffffffffffffffff", "description": "made by Ann\n",
            "net0": "name=eth0,bridge=vmbr9,firewall=1,hwaddr=BC:24:11:00:00:01,ip=dhcp,tag=7,type=veth",
            "rootfs": "local-lvm:vm-1000-disk-0,size=8G", "protection": 1,
        }))
        .unwrap()
    }

    fn found(infrastructure: Infrastructure) -> Wanted {
        wanted(&spec(infrastructure), &config(), &clone(), &mark()).unwrap()
    }

    fn net0(wanted: &Wanted) -> String {
        match &wanted.settings.networks[&0] {
            Setting::Set(interface) => interface.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clone_becomes_its_own() {
        let wanted = found(Infrastructure { tags: vec!["app".into()], ..Infrastructure::default() });
        let settings = &wanted.settings;
        assert_eq!(settings.cores, Setting::Set(2));
        assert_eq!(settings.cpu_limit, Setting::Set(1.5));
        assert_eq!(settings.memory, Some(2048));
        assert_eq!(settings.protection, Some(false));
        assert!(settings.tags.is_none(), "tags come last: they say that all else is done");
        let notes = settings.description.as_deref().unwrap();
        assert!(notes.starts_with("made by Ann\n"), "{notes}");
        assert_eq!(Mark::read(notes), Some(mark()));
        let tags: Vec<String> = wanted.tags.0.iter().map(ToString::to_string).collect();
        assert!(tags.contains(&"node".to_owned()) && tags.contains(&"app".to_owned()), "{tags:?}");
        assert!(!tags.contains(&"berth-id-ffffffffffffffff".to_owned()), "{tags:?}");
    }

    #[test]
    fn the_hardware_address_stays() {
        let net0 = net0(&found(Infrastructure::default()));
        assert!(net0.starts_with("name=eth0,bridge=vmbr0,ip=dhcp"), "{net0}");
        assert!(net0.contains("hwaddr=BC:24:11:00:00:01") && !net0.contains("tag="), "{net0}");
    }

    #[test]
    fn a_fixed_address_comes_with_its_gateway() {
        let address = FixedAddress {
            address: "192.168.3.50/24".parse().unwrap(),
            gateway: "192.168.3.1".parse().unwrap(),
        };
        let fixed = Infrastructure {
            address: Some(address),
            vlan: Some(20),
            bridge: Some("vmbr1".into()),
            ..Infrastructure::default()
        };
        let net0 = net0(&found(fixed));
        assert!(
            net0.starts_with("name=eth0,bridge=vmbr1,ip=192.168.3.50/24,gw=192.168.3.1,tag=20"),
            "{net0}"
        );
    }

    #[rstest::rstest]
    #[case::grown(50 << 30, Some(50 << 30))]
    #[case::large_enough(8 << 30, None)]
    #[case::never_shrunk(4 << 30, None)]
    fn disks_only_grow(#[case] wanted: u64, #[case] expected: Option<u64>) {
        let found = found(Infrastructure { disk_bytes: Some(wanted), ..Infrastructure::default() });
        assert_eq!(found.root_size, expected);
    }

    #[rstest::rstest]
    #[case(DnsMode::Host, None)]
    #[case(DnsMode::Static, Some(2))]
    #[case(DnsMode::Tailscale, Some(2))]
    fn name_servers(#[case] mode: DnsMode, #[case] servers: Option<usize>) {
        let found = found(Infrastructure { dns_mode: Some(mode), ..Infrastructure::default() });
        assert_eq!(found.settings.nameservers.map(|servers| servers.len()), servers);
    }
}
