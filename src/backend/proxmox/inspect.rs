//! What stands on the cluster for a body, and whose it is.

use std::{net::IpAddr, time::Duration};

use super::{
    client::{Configuration, ContainerStatus, GuestInterface, RunState as PveState},
    cluster::{Cluster, Place, lock},
    errors,
    mark::{self, Mark},
    tun::TUN,
};
use crate::backend::{
    BackendError, Body, BodyRef, Container, ContainerName, ContainerRef, Incarnation, Reason, RunState,
};

/// A container with this body's mark.
pub(super) struct Marked {
    /// Where it is.
    pub(super) place: Place,
    /// Its configuration.
    pub(super) configuration: Configuration,
    /// What its notes say.
    pub(super) mark: Mark,
}

impl Marked {
    /// Whether it was made to its end: the tags are the last that is written.
    pub(super) fn is_finished(&self) -> bool {
        let tags = self.configuration.tags.0.iter().map(ToString::to_string).collect();
        mark::id_of(&tags, &self.mark.instance) == Some(self.mark.id)
    }
}

/// The container of a body; absent: there is none, or one that is somebody else's stands at its
/// number and the body never had one there.
pub(super) async fn of_body(cluster: &Cluster, body: &BodyRef) -> Result<Option<Marked>, BackendError> {
    let Some((place, configuration)) = cluster.found(body).await? else { return Ok(None) };
    let Some(mark) = Mark::read(&configuration.description) else { return Ok(None) };
    if mark.instance != cluster.instance || mark.id != body.id {
        return Ok(None);
    }
    if mark.owner != body.owner {
        let words = format!("CT {} belongs to {}, not to {}", place.vmid, mark.owner, body.owner);
        return Err(BackendError::new(Reason::NotOwned, words));
    }
    Ok(Some(Marked { place, configuration, mark }))
}

/// One container of a body that has to be there.
pub(super) async fn existing(cluster: &Cluster, container: &ContainerRef) -> Result<Marked, BackendError> {
    let found = of_body(cluster, &container.body).await?;
    found.filter(|found| found.mark.incarnation == container.incarnation).ok_or_else(|| {
        let name = ContainerName::new(&container.body.owner, container.body.id, container.incarnation);
        BackendError::new(Reason::NotFound, format!("there is no container {name}"))
    })
}

/// What a backend has of a workspace.
pub(super) async fn inspect(cluster: &Cluster, body: &BodyRef) -> Result<Body, BackendError> {
    let Some(found) = of_body(cluster, body).await? else { return Ok(Body::default()) };
    if !found.is_finished() {
        return Ok(Body { unfinished: true, ..Body::default() });
    }
    let status = cluster.client.container_status(&found.place.node, found.place.vmid).await;
    let status = match status {
        Ok(status) => status,
        Err(error) if error.is_missing_container() => return Ok(Body::default()),
        Err(error) => return Err(errors::from_client(&error)),
    };
    let ip = match status.status {
        PveState::Running => address(cluster, &found, &status).await?,
        _ => None,
    };
    Ok(Body { containers: vec![describe(&found, &status, ip)], ..Body::default() })
}

fn describe(found: &Marked, status: &ContainerStatus, ip: Option<IpAddr>) -> Container {
    let running = status.status == PveState::Running;
    Container {
        id: found.place.vmid.to_string(),
        name: found.configuration.hostname.clone().unwrap_or_default(),
        incarnation: found.mark.incarnation,
        state: if running { RunState::Running } else { RunState::Exited },
        exit_code: None,
        out_of_memory: false,
        ip,
        started_at: status.pid.filter(|_| running).map(|pid| format!("process {pid}")),
        running_for: status.uptime.filter(|_| running).map(Duration::from_secs),
        has_tun: found.configuration.has_device(TUN),
        // What is stored says how large the disk is, not whether its file system grew with it.
        disk_bytes: status.disk.filter(|size| running && *size > 0),
    }
}

/// The address of the container's own interface. It stays for as long as the container runs.
async fn address(
    cluster: &Cluster,
    found: &Marked,
    status: &ContainerStatus,
) -> Result<Option<IpAddr>, BackendError> {
    let boot = status.pid.map(|pid| (found.place.vmid.get(), pid));
    if let Some(known) = boot.and_then(|boot| lock(&cluster.addresses).get(&boot).copied()) {
        return Ok(Some(known));
    }
    let interfaces = cluster.client.interfaces(&found.place.node, found.place.vmid).await;
    let interfaces = interfaces.map_err(|error| errors::from_client(&error))?;
    let address = address_of(&found.configuration, &interfaces.unwrap_or_default());
    if let (Some(boot), Some(address)) = (boot, address) {
        let mut addresses = lock(&cluster.addresses);
        addresses.retain(|(vmid, _), _| *vmid != boot.0);
        addresses.insert(boot, address);
    }
    Ok(address)
}

/// The first address, IPv4 before IPv6, of the interface that has the hardware address of `net0`:
/// containers make interfaces of their own.
fn address_of(configuration: &Configuration, interfaces: &[GuestInterface]) -> Option<IpAddr> {
    let wanted = configuration.network(0)?.ok()?.hwaddr?;
    let interface = interfaces.iter().find(|interface| interface.hwaddr.as_ref() == Some(&wanted))?;
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_loopback(),
    };
    interface.addresses.iter().map(|network| network.addr()).filter(usable).min_by_key(IpAddr::is_ipv6)
}

/// What the number of the newest container is; for [`crate::backend::Found`].
pub(super) fn incarnation(found: &Marked) -> Incarnation {
    if found.is_finished() { found.mark.incarnation } else { Incarnation::NONE }
}
