//! The SSH servers of the nodes: which there are, their keys, and what clients have to know of them.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::Context as _;
use berth_proxmox_simulator::{
    cluster::Cluster,
    node_ssh::{self, Node, authorized_keys, host_key},
};
use clap::Args;
use tokio::{net::TcpListener, task::JoinSet};

/// A port whose keys stand in `known_hosts` by the address alone.
const SSH_PORT: u16 = 22;

/// A node, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    node: String,
    address: SocketAddr,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, address) = text.split_once('=').ok_or("is NODE=ADDRESS:PORT")?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { node: node.to_owned(), address })
    }
}

/// The flags about SSH.
#[derive(Args)]
pub struct Flags {
    /// Where a node's SSH server listens: NODE=ADDRESS:PORT. May be repeated. Whoever has one of the
    /// authorised keys has the rights of this process on this machine.
    #[arg(long = "ssh", value_name = "NODE=ADDRESS:PORT", requires_all = ["ssh_host_key", "ssh_authorized_keys"])]
    ssh: Vec<Place>,
    /// The host key of all nodes, in OpenSSH's format. Made if it is not there.
    #[arg(long, value_name = "FILE")]
    ssh_host_key: Option<PathBuf>,
    /// The keys that are root's on every node, as in `authorized_keys`.
    #[arg(long, value_name = "FILE")]
    ssh_authorized_keys: Option<PathBuf>,
    /// The host key at each node's address is written to this file, as in `known_hosts`.
    #[arg(long, value_name = "FILE")]
    ssh_known_hosts: Option<PathBuf>,
}

/// Servers that run until this is dropped.
#[derive(Default)]
pub struct Servers {
    addresses: BTreeMap<String, SocketAddr>,
    running: JoinSet<()>,
}

impl Servers {
    /// What the ready line says of them; nothing where there are none.
    pub fn words(&self) -> String {
        let nodes = self.addresses.iter().map(|(node, address)| format!(" SSH {node} {address}"));
        nodes.collect()
    }
}

/// Starts the servers that are asked for.
///
/// # Errors
///
/// That a node is not of the cluster, an address can not be listened on, or a file is not as it
/// should be.
pub async fn start(flags: &Flags, cluster: &Arc<Cluster>) -> anyhow::Result<Servers> {
    let mut servers = Servers::default();
    let (Some(key_file), Some(authorized)) = (&flags.ssh_host_key, &flags.ssh_authorized_keys) else {
        return Ok(servers);
    };
    let host_key = host_key(key_file).map_err(anyhow::Error::msg)?;
    let text = std::fs::read_to_string(authorized).with_context(|| format!("{}", authorized.display()))?;
    let authorized_keys = authorized_keys(&text)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{}", authorized.display()))?;
    let program = std::env::current_exe()?;
    for Place { node, address } in &flags.ssh {
        anyhow::ensure!(cluster.state().nodes.contains_key(node), "--ssh: there is no node {node}");
        let listener = TcpListener::bind(address).await.with_context(|| format!("--ssh {node}={address}"))?;
        let listens = listener.local_addr()?;
        anyhow::ensure!(
            servers.addresses.insert(node.clone(), listens).is_none(),
            "--ssh: {node} is there twice"
        );
        let node = Node {
            name: node.clone(),
            host_key: host_key.clone(),
            authorized_keys: authorized_keys.clone(),
            program: program.clone(),
            configurations: Arc::clone(cluster) as _,
            containers: Arc::clone(&cluster.containers),
        };
        servers.running.spawn(async move {
            let name = node.name.clone();
            if let Err(error) = node_ssh::serve(listener, node).await {
                tracing::error!(node = name, %error, "the SSH server of a node ends");
            }
        });
    }
    if let Some(file) = &flags.ssh_known_hosts {
        let key = host_key.public_key().to_openssh()?;
        let text: String = servers.addresses.values().map(|address| known_host(*address, &key)).collect();
        std::fs::write(file, text).with_context(|| format!("{}", file.display()))?;
    }
    Ok(servers)
}

fn known_host(address: SocketAddr, key: &str) -> String {
    match address.port() {
        SSH_PORT => format!("{} {key}\n", address.ip()),
        port => format!("[{}]:{port} {key}\n", address.ip()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("pve1=127.0.0.1:2201", Some(("pve1", "127.0.0.1:2201")))]
    #[case("pve1=[::1]:22", Some(("pve1", "[::1]:22")))]
    #[case("127.0.0.1:22", None)]
    #[case("pve1=127.0.0.1", None)]
    #[case("pve1=localhost:22", None)]
    fn a_node_has_an_address(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
        let expected = expected
            .map(|(node, address)| Place { node: node.to_owned(), address: address.parse().unwrap() });
        assert_eq!(text.parse().ok(), expected);
    }

    #[rstest]
    #[case("127.0.0.1:22", "127.0.0.1 key\n")]
    #[case("127.0.0.1:2201", "[127.0.0.1]:2201 key\n")]
    #[case("[::1]:22", "::1 key\n")]
    #[case("[::1]:2201", "[::1]:2201 key\n")]
    fn hosts_are_known_as_openssh_writes_them(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(known_host(address.parse().unwrap(), "key"), expected);
    }
}
