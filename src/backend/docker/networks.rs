//! The network of a body.

use std::collections::HashMap;

use bollard::{
    models::{
        Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
    },
    query_parameters::{InspectNetworkOptions, ListNetworksOptions, ListNetworksOptionsBuilder},
};
use ipnet::{IpNet, Ipv4Net};

use super::{
    errors,
    host::{CHANGE, Host, LOOK},
    labels, subnet,
};
use crate::backend::{BackendError, BodyId, BodyRef, Reason};

/// Somebody else may take subnets at the same time; this often the next one is tried.
const ATTEMPTS: usize = 16;

/// The networks of a body. Docker allows several of one name.
pub(super) async fn of_body(host: &Host, id: BodyId) -> Result<Vec<Network>, BackendError> {
    let filters = labels::body_filters(&host.instance, id);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let found = host.call("list networks", LOOK, host.docker.list_networks(Some(options))).await?;
    let name = labels::network_name(id);
    Ok(found.into_iter().filter(|network| network.name.as_ref() == Some(&name)).collect())
}

/// Makes the network of a body, unless it is there.
pub(super) async fn ensure(host: &Host, body: &BodyRef) -> Result<(), BackendError> {
    if one_is_left(host, body.id).await? {
        return Ok(());
    }
    let _alone = host.subnets.lock().await;
    if one_is_left(host, body.id).await? {
        return Ok(());
    }
    let mut refused: Vec<IpNet> = Vec::new();
    for _ in 0..ATTEMPTS {
        let all =
            host.call("list networks", LOOK, host.docker.list_networks(None::<ListNetworksOptions>)).await?;
        if is_among(&all, host, body.id)? {
            return Ok(());
        }
        let mut taken = subnets(all);
        taken.extend(&refused);
        let Some(free) = subnet::lowest_free(host.network_range, &taken) else { break };
        match host
            .try_call("create network", CHANGE, host.docker.create_network(request(host, body, free)))
            .await?
        {
            Ok(_) => return Ok(()),
            Err(error) => {
                let error = errors::from_docker(&host.name, "create network", &error);
                if error.reason == Reason::AddressesExhausted {
                    refused.push(IpNet::V4(free));
                } else if one_is_left(host, body.id).await? {
                    return Ok(());
                } else {
                    return Err(error);
                }
            }
        }
    }
    let words = format!("no addresses are left in {} for another network", host.network_range);
    Err(errors::refuse(&host.name, Reason::AddressesExhausted, words))
}

fn request(host: &Host, body: &BodyRef, subnet: Ipv4Net) -> NetworkCreateRequest {
    let addresses = IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() };
    NetworkCreateRequest {
        name: labels::network_name(body.id),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![addresses]), ..Ipam::default() }),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.name".to_owned(),
            labels::bridge_name(body.id),
        )])),
        labels: Some(labels::of_body(&host.instance, body.id)),
        ..NetworkCreateRequest::default()
    }
}

/// Whether the body's network is among these: a leader that was replaced and does not know it yet may
/// have made it meanwhile. A network of its name that is not ours would be mixed up with ours: it is
/// an error.
fn is_among(all: &[Network], host: &Host, id: BodyId) -> Result<bool, BackendError> {
    let (name, ours) = (labels::network_name(id), labels::of_body(&host.instance, id));
    let mut namesakes = all.iter().filter(|network| network.name.as_ref() == Some(&name)).peekable();
    if namesakes.peek().is_none() {
        return Ok(false);
    }
    let has_mark = |network: &Network| {
        let labels = network.labels.as_ref();
        ours.iter().all(|(label, value)| labels.and_then(|labels| labels.get(label)) == Some(value))
    };
    if namesakes.all(has_mark) {
        return Ok(true);
    }
    let words = format!("there is a network {name} that is not ours");
    Err(errors::refuse(&host.name, Reason::Conflict, words))
}

/// Every subnet that these take, whoever made them.
fn subnets(all: Vec<Network>) -> Vec<IpNet> {
    all.into_iter()
        .filter_map(|network| network.ipam?.config)
        .flatten()
        .filter_map(|config| config.subnet?.parse().ok())
        .collect()
}

/// Whether the body has its network. Of several, the one in use stays, else the oldest.
async fn one_is_left(host: &Host, id: BodyId) -> Result<bool, BackendError> {
    let networks = of_body(host, id).await?;
    if networks.len() < 2 {
        return Ok(!networks.is_empty());
    }
    let mut ranked = Vec::new();
    for network in networks {
        let Some(docker_id) = network.id else { continue };
        let unused = endpoints(host, &docker_id).await?.is_none_or(|endpoints| endpoints.is_empty());
        ranked.push((unused, network.created.map(|time| time.to_string()), docker_id));
    }
    ranked.sort();
    for (_, _, docker_id) in ranked.iter().skip(1) {
        delete(host, docker_id).await?;
    }
    Ok(true)
}

/// Docker's identifiers of the containers on a network; `None` when it is gone.
async fn endpoints(host: &Host, docker_id: &str) -> Result<Option<Vec<String>>, BackendError> {
    let look = host.docker.inspect_network(docker_id, None::<InspectNetworkOptions>);
    match host.try_call("inspect network", LOOK, look).await? {
        Ok(network) => Ok(Some(network.containers.unwrap_or_default().into_keys().collect())),
        Err(error) if errors::is_not_found(&error) => Ok(None),
        Err(error) => Err(errors::from_docker(&host.name, "inspect network", &error)),
    }
}

/// Puts a stopped container on the network of its body.
pub(super) async fn attach(host: &Host, body: &BodyRef, container: &str) -> Result<(), BackendError> {
    let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
    let name = labels::network_name(body.id);
    host.call("connect to the network", CHANGE, host.docker.connect_network(&name, request)).await
}

/// Removes the network of a body. `ours` are containers that may be thrown off it: those of the
/// body, which are gone by now but may have left an end behind.
pub(super) async fn remove(host: &Host, body: &BodyRef, ours: &[String]) -> Result<(), BackendError> {
    for network in of_body(host, body.id).await? {
        let Some(docker_id) = network.id else { continue };
        for container in endpoints(host, &docker_id).await?.unwrap_or_default() {
            // Ends without a container are named `ep-...`.
            if !ours.contains(&container) && !container.starts_with("ep-") {
                let name = labels::network_name(body.id);
                let words = format!("network {name} is in use by container {container}, which is not ours");
                return Err(errors::refuse(&host.name, Reason::Conflict, words));
            }
            let request = NetworkDisconnectRequest { container, force: Some(true) };
            let disconnect = host.docker.disconnect_network(&docker_id, request);
            match host.try_call("disconnect", CHANGE, disconnect).await? {
                Err(error) if !errors::is_not_found(&error) => {
                    return Err(errors::from_docker(&host.name, "disconnect", &error));
                }
                _ => {}
            }
        }
        delete(host, &docker_id).await?;
    }
    Ok(())
}

async fn delete(host: &Host, docker_id: &str) -> Result<(), BackendError> {
    match host.try_call("remove network", CHANGE, host.docker.remove_network(docker_id)).await? {
        Err(error) if !errors::is_not_found(&error) => {
            Err(errors::from_docker(&host.name, "remove network", &error))
        }
        _ => Ok(()),
    }
}
