//! Starting the simulated cluster, and what removes it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
};

use berth_proxmox_simulator::{
    Options, Simulator,
    clock::Clock,
    cluster,
    containers::{
        Containers,
        docker::{self, DockerContainers},
    },
    node_ssh::{self, Configurations},
    settings::{Settings, Storage, StorageType},
};
use tokio::net::TcpListener;

use super::{
    super::{
        docker::{docker, run},
        word,
    },
    SECRET, SHARED_STORAGE, TOKEN,
};

/// OS template of Debian 12 with systemd, made by hack/proxmox-images.sh.
const OS_IMAGE: &str = "berth-demo/debian-12-standard:bookworm";
/// The same with git, made once on a machine.
const GIT_IMAGE: &str = "berth-demo/debian-12-git:bookworm";
/// Label of everything of a simulated cluster in Docker.
const LABEL: &str = "dev.berth.proxmox-simulator.cluster";
/// Memory of the nodes. The second one has a little more.
const MEMORY: [(&str, u64); 2] = [("pve1", 64 << 30), ("pve2", 66 << 30)];

/// A cluster that runs until this process ends.
pub(super) struct Started {
    pub(super) address: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) certificate: String,
    pub(super) cluster: Arc<cluster::Cluster>,
    /// Where each node's SSH server listens.
    pub(super) nodes: BTreeMap<String, SocketAddr>,
}

/// Starts a cluster, with its keys in a folder.
pub(super) async fn start(name: &str, folder: &Path) -> Started {
    with_git();
    std::fs::write(folder.join("token"), SECRET).expect("no token");
    for key in ["key", "node-key"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", "ed25519", "-f"])
            .arg(folder.join(key))
            .status();
        assert!(made.expect("no ssh-keygen").success());
    }
    let (name, keys) = (name.to_owned(), folder.to_owned());
    let (sender, started) = tokio::sync::oneshot::channel();
    // Each test has a runtime of its own, and the cluster outlives them.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("no runtime").block_on(async {
            let daemon = bollard::Docker::connect_with_defaults().expect("no Docker");
            let containers: Arc<dyn Containers> = Arc::new(DockerContainers::new(daemon, behind(&name)));
            let simulator = simulator(Arc::clone(&containers)).await;
            let nodes = serve_nodes(&simulator.cluster, &containers, &keys).await;
            let _ = sender.send(Started {
                address: simulator.address,
                control: simulator.control,
                certificate: simulator.certificate.pem.clone(),
                cluster: Arc::clone(&simulator.cluster),
                nodes,
            });
            std::future::pending::<()>().await;
        });
    });
    let started = started.await.expect("the simulator does not start");
    std::fs::write(folder.join("ca.pem"), &started.certificate).expect("no certificate");
    started
}

fn behind(name: &str) -> docker::Settings {
    let templates = BTreeMap::from([
        ("debian-12-standard".to_owned(), GIT_IMAGE.to_owned()),
        ("debian-12-sysvinit".to_owned(), "berth-demo/debian-12-sysvinit:bookworm".to_owned()),
    ]);
    docker::Settings { cluster: name.to_owned(), templates, bridges: BTreeMap::new() }
}

async fn simulator(containers: Arc<dyn Containers>) -> Simulator {
    let mut settings = Settings::two_nodes("root");
    let (user, token) = TOKEN.split_once('!').expect("a token");
    settings.add_token(user, token, SECRET, "PVEAdmin", "/");
    for (name, memory) in MEMORY {
        let node = settings.nodes.get_mut(name).expect("a node");
        node.memory = memory;
        node.bridges.insert("vmbr1".to_owned());
    }
    let shared = Storage {
        kind: StorageType::Nfs,
        shared: true,
        templates: Default::default(),
        ..settings.storages["local-lvm"].clone()
    };
    settings.storages.insert(SHARED_STORAGE.to_owned(), shared);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = Options {
        settings,
        clock: Clock { work: 0.02, patience: 1.0 },
        listen: loopback,
        control: loopback,
        names: vec!["127.0.0.1".to_owned()],
    };
    Simulator::start(options, containers).await.expect("the simulator does not start")
}

/// Serves each node's SSH to the owner of `node-key`. The host keys are in `known_hosts`.
async fn serve_nodes(
    cluster: &Arc<cluster::Cluster>,
    containers: &Arc<dyn Containers>,
    folder: &Path,
) -> BTreeMap<String, SocketAddr> {
    let owner = std::fs::read_to_string(folder.join("node-key.pub")).expect("no key");
    let mut known = String::new();
    let mut addresses = BTreeMap::new();
    for (name, _) in MEMORY {
        let file = folder.join(format!("host-key-{name}"));
        let node = node_ssh::Node {
            name: name.to_owned(),
            host_key: node_ssh::host_key(&file).expect("no host key"),
            authorized_keys: node_ssh::authorized_keys(&owner).expect("it is no key"),
            program: program(),
            configurations: Arc::clone(cluster) as Arc<dyn Configurations>,
            containers: Arc::clone(containers),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("no listener");
        let address = listener.local_addr().expect("no address");
        tokio::spawn(node_ssh::serve(listener, node));
        let key = std::fs::read_to_string(file.with_added_extension("pub")).expect("no host key");
        known += &format!("[127.0.0.1]:{} {key}", address.port());
        addresses.insert(name.to_owned(), address);
    }
    std::fs::write(folder.join("known_hosts"), known).expect("no known hosts");
    addresses
}

/// The simulator's program, which is `pct` on the nodes. It is beside the operator's.
pub(super) fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_berth")).with_file_name("proxmox-simulator")
}

/// Removes the cluster's containers and networks when this process is over, however it ends.
pub(super) fn cleaner(name: &str) -> Child {
    let script = format!(
        "cat >/dev/null
        docker ps --all --quiet --filter label={LABEL}={name} | xargs --no-run-if-empty docker rm --force --volumes
        docker network ls --quiet --filter label={LABEL}={name} | xargs --no-run-if-empty docker network rm
        docker images --quiet --filter label={LABEL}={name} | xargs --no-run-if-empty docker rmi --force"
    );
    let quiet = std::process::Stdio::null;
    Command::new("sh")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .expect("no shell")
}

/// Makes the network that is a bridge of a cluster. Returns its addresses and the gateway's. Docker
/// takes fixed addresses only in a network whose own were asked for; so it is asked for those that
/// it would choose.
pub(super) fn make_bridge(cluster: &str, bridge: &str) -> (String, String) {
    let (name, label) = (format!("pve-sim-{cluster}-{bridge}"), format!("{LABEL}={cluster}"));
    let create = ["network", "create", "--label", &label];
    let format = "{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}";
    for _ in 0..10 {
        docker(&[create.as_slice(), &[&name]].concat());
        let found = docker(&["network", "inspect", "--format", format, &name]).join("");
        docker(&["network", "rm", &name]);
        let (subnet, gateway) = found.split_once(' ').expect("a network and its gateway");
        // Somebody else may have been faster.
        if run(&[create.as_slice(), &["--subnet", subnet, &name]].concat()).status.success() {
            return (subnet.to_owned(), gateway.to_owned());
        }
    }
    panic!("there is no network for {name}");
}

/// Makes the image with git, once on a machine: packages come from the distribution's mirror.
fn with_git() {
    if run(&["image", "inspect", GIT_IMAGE]).status.success() {
        return;
    }
    let name = format!("berth-test-{}", word());
    let script = "apt-get update -q && apt-get install -qy --no-install-recommends git ca-certificates && apt-get clean";
    let installed = run(&["run", "--name", &name, "--entrypoint", "", OS_IMAGE, "sh", "-c", script]);
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let commands = ["--change", "ENTRYPOINT []", "--change", "CMD [\"/sbin/init\"]"];
    docker(&[["commit"].as_slice(), &commands, &[&name, GIT_IMAGE]].concat());
    docker(&["rm", "--force", &name]);
}
