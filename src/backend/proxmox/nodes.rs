//! The way onto a cluster's nodes: by SSH, as an administrator configured it.

use super::{client::NodeName, cluster::Cluster};
use crate::{
    backend::{
        BackendError, Reason,
        ssh::{SshHost, Target},
    },
    config::proxmox::HostSsh,
};

const SSH_PORT: u16 = 22;

/// Whether there is a way onto the nodes.
pub(super) fn are_reached(cluster: &Cluster) -> bool {
    cluster.ways.nodes.is_some() && cluster.config.host_ssh.is_some()
}

/// Root's shell on a node, for what the API can not do. [`Reason::HostSshNotConfigured`]: there is
/// no way there.
pub(super) async fn shell(cluster: &Cluster, node: &NodeName) -> Result<SshHost, BackendError> {
    let (Some(pool), Some(host_ssh)) = (&cluster.ways.nodes, &cluster.config.host_ssh) else {
        let words = format!("there is no way onto node {node} by SSH");
        return Err(BackendError::new(Reason::HostSshNotConfigured, words));
    };
    SshHost::open(pool, &target(host_ssh, node), &host_ssh.known_hosts_file).await
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
