//! The nodes of a cluster by SSH: root's shell on each.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth_proxmox_simulator::{
    cluster::Cluster as Simulated,
    containers::Containers,
    node_ssh::{self, Configurations},
};
use tokio::net::TcpListener;

/// The key that opens them, in the cluster's folder.
pub(super) const KEY: &str = "node-key";
/// Their host keys, in the cluster's folder.
pub(super) const KNOWN_HOSTS: &str = "known_hosts";

/// Serves every node to the owner of the key; gives where each listens.
pub(super) async fn serve(
    cluster: &Arc<Simulated>,
    containers: &Arc<dyn Containers>,
    folder: &Path,
) -> BTreeMap<String, SocketAddr> {
    let owner = make_key(&folder.join(KEY));
    let names: Vec<String> = cluster.state().nodes.keys().cloned().collect();
    let mut known = String::new();
    let mut addresses = BTreeMap::new();
    for name in names {
        let file = folder.join(format!("host-key-{name}"));
        let host_key = make_key(&file);
        let node = node_ssh::Node {
            name: name.clone(),
            host_key: node_ssh::host_key(&file).expect("no host key"),
            authorized_keys: node_ssh::authorized_keys(&owner).expect("it is no key"),
            program: program(),
            configurations: Arc::clone(cluster) as Arc<dyn Configurations>,
            containers: Arc::clone(containers),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("no listener");
        let address = listener.local_addr().expect("no address");
        tokio::spawn(node_ssh::serve(listener, node));
        known += &format!("[127.0.0.1]:{} {host_key}", address.port());
        addresses.insert(name, address);
    }
    std::fs::write(folder.join(KNOWN_HOSTS), known).expect("no known hosts");
    addresses
}

/// Makes a key; gives its public half.
fn make_key(file: &Path) -> String {
    node_ssh::host_key(file).expect("no key");
    std::fs::read_to_string(file.with_added_extension("pub")).expect("no public key")
}

/// The simulator's program, which is `pct` on the nodes. It is beside the operator's.
pub(super) fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_berth")).with_file_name("proxmox-simulator")
}
