//! The device `/dev/net/tun` in a container.

use super::{
    client::NodeName,
    cluster::{Cluster, Place},
    node_shell,
};
use crate::{
    backend::{
        BackendError, Reason,
        ssh::{Target, host::SshHost},
    },
    config::proxmox::HostSsh,
};

const TUN: &str = "/dev/net/tun";
const SSH_PORT: u16 = 22;

/// Sees to it that a container has the device from its next start on. A clone has what its template
/// has; otherwise only root on the node can give it, since the API lets no token do so.
pub(super) async fn ensure(cluster: &Cluster, place: &Place) -> Result<(), BackendError> {
    let configuration = cluster.configuration(place).await?;
    if configuration.is_some_and(|configuration| configuration.has_device(TUN)) {
        return Ok(());
    }
    let (Some(pool), Some(host_ssh)) = (&cluster.ways.nodes, &cluster.config.host_ssh) else {
        let words = format!("CT {} has no {TUN}, and its template has none to hand on", place.vmid);
        return Err(BackendError::new(Reason::HostSshNotConfigured, words));
    };
    let target = target(host_ssh, &place.node);
    let node = SshHost::open(pool, &target, &host_ssh.known_hosts_file).await?;
    node_shell::give_tun(&node, place.vmid).await.map(drop)
}

/// Where a node is reached: by its name, unless another address is configured.
pub(super) fn target(host_ssh: &HostSsh, node: &NodeName) -> Target {
    let address = host_ssh.addresses.get(node.as_str()).map_or(node.as_str(), String::as_str);
    let with_port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    // An address of IPv6 has colons of its own, and its port behind brackets.
    let (host, port) = match with_port {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (address, SSH_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Target { host, port, user: host_ssh.user.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("{}", "root@pve1:22")]
    #[case("{pve1: 10.0.0.1}", "root@10.0.0.1:22")]
    #[case("{pve1: '10.0.0.1:2222'}", "root@10.0.0.1:2222")]
    #[case("{pve1: '[fd00::1]:2222'}", "root@fd00::1:2222")]
    #[case("{pve1: 'fd00::1'}", "root@fd00::1:22")]
    fn where_a_node_is(#[case] addresses: &str, #[case] expected: &str) {
        let text = format!("keyFile: /k\nknownHostsFile: /h\naddresses: {addresses}");
        let host_ssh: HostSsh = serde_yaml::from_str(&text).unwrap();
        assert_eq!(target(&host_ssh, &"pve1".parse().unwrap()).to_string(), expected);
    }
}
