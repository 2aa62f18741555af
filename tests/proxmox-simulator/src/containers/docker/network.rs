//! Bridges: each is a Docker network of its own.

use std::{collections::HashMap, net::Ipv4Addr};

use bollard::{
    Docker,
    models::{
        EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
        NetworkDisconnectRequest,
    },
    query_parameters::{InspectNetworkOptions, ListNetworksOptions},
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    boot::{Bridge, Ipv4},
    errors, labels,
};
use crate::containers::Nic;

/// Networks are cut from this range unless they are given.
const RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 231, 0, 0), 16);
const PREFIX: u8 = 24;
/// Others may take a network at the same moment.
const ATTEMPTS: usize = 20;

/// The network of a bridge, which is made if it is not there. Its upper half is for addresses that
/// are asked for by DHCP.
pub(super) async fn ensure(
    docker: &Docker,
    cluster: &str,
    bridge: &str,
    given: Option<Ipv4Net>,
) -> Result<Bridge, String> {
    let name = labels::network_name(cluster, bridge);
    if let Some(found) = find(docker, &name).await? {
        return Ok(found);
    }
    let mut last = format!("there is no free network in {}/{}", RANGE.0, RANGE.1);
    let mut refused = Vec::new();
    for _ in 0..ATTEMPTS {
        let subnet = match given {
            Some(subnet) => subnet,
            None => {
                let taken =
                    taken(docker).await?.into_iter().chain(refused.iter().copied()).collect::<Vec<_>>();
                lowest_free(&taken).ok_or(last)?
            }
        };
        match create(docker, cluster, &name, subnet).await {
            Ok(made) => return Ok(made),
            Err(error) if given.is_some() => return Err(error),
            Err(error) => {
                refused.push(subnet);
                last = error;
            }
        }
    }
    Err(last)
}

async fn create(docker: &Docker, cluster: &str, name: &str, subnet: Ipv4Net) -> Result<Bridge, String> {
    let gateway = subnet.hosts().next().ok_or_else(|| format!("{subnet} has no addresses"))?;
    let upper = subnet.subnets(subnet.prefix_len() + 1).ok().and_then(Iterator::last);
    let config = IpamConfig {
        subnet: Some(subnet.to_string()),
        gateway: Some(gateway.to_string()),
        ip_range: upper.map(|range| range.to_string()),
        ..IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
        labels: Some(labels::of_cluster(cluster)),
        ..NetworkCreateRequest::default()
    };
    docker.create_network(request).await.map_err(errors::during("create network"))?;
    Ok(Bridge { subnet, gateway })
}

async fn find(docker: &Docker, name: &str) -> Result<Option<Bridge>, String> {
    let network = match docker.inspect_network(name, None::<InspectNetworkOptions>).await {
        Ok(network) => network,
        Err(error) if errors::is_not_found(&error) => return Ok(None),
        Err(error) => return Err(errors::during("inspect network")(error)),
    };
    let config = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let bridge = config.into_iter().find_map(|config| {
        Some(Bridge { subnet: config.subnet?.parse().ok()?, gateway: config.gateway?.parse().ok()? })
    });
    bridge.map(Some).ok_or_else(|| format!("network {name} has no IPv4 addresses"))
}

async fn taken(docker: &Docker) -> Result<Vec<Ipv4Net>, String> {
    let all =
        docker.list_networks(None::<ListNetworksOptions>).await.map_err(errors::during("list networks"))?;
    let subnets = all.into_iter().filter_map(|network| network.ipam?.config).flatten();
    let parsed = subnets.filter_map(|config| match config.subnet?.parse() {
        Ok(IpNet::V4(subnet)) => Some(subnet),
        _ => None,
    });
    Ok(parsed.collect())
}

fn lowest_free(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlaps = |one: &Ipv4Net, other: &Ipv4Net| one.contains(other) || other.contains(one);
    let range = Ipv4Net::new(RANGE.0, RANGE.1).ok()?;
    range.subnets(PREFIX).ok()?.find(|subnet| !taken.iter().any(|other| overlaps(subnet, other)))
}

/// Takes a stopped container off all networks.
pub(super) async fn disconnect(
    docker: &Docker,
    container: &str,
    networks: &HashMap<String, EndpointSettings>,
) -> Result<(), String> {
    for name in networks.keys() {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let disconnected = docker.disconnect_network(name, request).await;
        errors::unless(errors::is_not_found, disconnected).map_err(errors::during("disconnect"))?;
    }
    Ok(())
}

/// Puts a stopped container on a bridge. A fixed address is reserved if the network has it.
pub(super) async fn connect(
    docker: &Docker,
    cluster: &str,
    container: &str,
    nic: &Nic,
    bridge: Bridge,
) -> Result<(), String> {
    let fixed = Ipv4::of(nic)
        .address()
        .and_then(|address| address.parse::<Ipv4Addr>().ok())
        .filter(|address| bridge.subnet.contains(address));
    let ipam_config = fixed.map(|address| EndpointIpamConfig {
        ipv4_address: Some(address.to_string()),
        ..EndpointIpamConfig::default()
    });
    let request = NetworkConnectRequest {
        container: container.to_owned(),
        endpoint_config: Some(EndpointSettings { ipam_config, ..EndpointSettings::default() }),
    };
    let name = labels::network_name(cluster, &nic.bridge);
    docker.connect_network(&name, request).await.map_err(errors::during("connect"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_taken(&[], Some("10.231.0.0/24"))]
    #[case::gaps_are_filled(&["10.231.0.0/24", "10.231.2.0/24"], Some("10.231.1.0/24"))]
    #[case::smaller_ones_count(&["10.231.0.128/28", "172.17.0.0/16"], Some("10.231.1.0/24"))]
    #[case::larger_ones_count(&["10.0.0.0/8"], None)]
    fn the_lowest_free_network_is_taken(#[case] taken: &[&str], #[case] expected: Option<&str>) {
        let taken: Vec<Ipv4Net> = taken.iter().map(|subnet| subnet.parse().unwrap()).collect();
        assert_eq!(lowest_free(&taken), expected.map(|subnet| subnet.parse().unwrap()));
    }
}
