//! Proxmox VE clusters of two nodes: simulated, with real containers or with such as are only
//! remembered.
//!
//! One with real containers is shared by all tests; a test that lets things go wrong has its own.
//! What an administrator or another client does to one is in [`hands`], what one runs on in
//! [`docker`]; root on a node is in [`nodes`].

mod docker;
mod hands;
mod nodes;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use berth::backend::proxmox::client::{
    ApiToken, Client, Configuration, Connection, Limits, NodeName, TaskState, Trust, Upid, View, VmId,
};
use berth_proxmox_simulator::settings::StorageType;
use berth_proxmox_simulator::{
    Options, Simulator,
    cluster::Cluster as Simulated,
    containers::{Containers, memory::MemoryContainers},
};
pub use berth_proxmox_simulator::{
    access::Acl,
    clock::Clock,
    faults::{Effect, Fault, Recorded, TaskFault},
    settings::Settings,
};
pub use hands::Base;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

use super::word;

/// The token that operators use.
pub const TOKEN: &str = "berth@pve!operator";
/// The secret of every token.
pub const SECRET: &str = "0f0f0f0f-0000-4000-8000-000000000000";
/// VMID of the template.
pub const TEMPLATE: u32 = 500;
/// The storage that both nodes of the shared cluster have; every other is of one node alone.
pub const SHARED_STORAGE: &str = "nas";
/// How long a task of the cluster may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many VMIDs one test has, for workspaces and for templates.
const RANGE: u32 = 40;
/// The first VMID of the first test.
const FIRST: u32 = 1000;
/// The first of the VMIDs that no operator gives out. Some others are named in tests, or are nobody's.
const OWN: u32 = 610;
/// How long work takes: a clone some 0.3 s. How long one waits is as on a real cluster.
pub const CLOCK: Clock = Clock { work: 0.02, patience: 1.0 };

/// A running cluster. It ends when it is dropped.
pub struct Cluster {
    address: SocketAddr,
    certificate: String,
    folder: tempfile::TempDir,
    ranges: AtomicU32,
    own: AtomicU32,
    /// Where the SSH server of each node listens.
    nodes: BTreeMap<String, SocketAddr>,
    /// The network that is the bridge `vmbr1`.
    second_bridge: OnceCell<(String, String)>,
    /// The cluster itself, for what no client can do.
    pub simulated: Arc<Simulated>,
    behind: Behind,
    _ends: oneshot::Sender<()>,
}

/// What its containers are.
enum Behind {
    /// Docker containers, named after the cluster. Another process removes them after the end.
    Docker { name: String, _cleaner: Child },
    /// Only remembered. None has an address, so nobody gets into one.
    Memory,
}

/// The cluster of all tests, with real containers and the template [`TEMPLATE`] on `pve1`.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(|| Cluster::with_containers(shared())).await
}

/// Nodes with a second bridge and a storage of both, of which `pve2` has a little more memory.
fn shared() -> Settings {
    let mut settings = two_nodes();
    for (name, memory) in [("pve1", 64 << 30), ("pve2", 66 << 30)] {
        let node = settings.nodes.get_mut(name).expect("a node");
        node.memory = memory;
        node.bridges.insert("vmbr1".to_owned());
    }
    let mut storage = settings.storages["local-lvm"].clone();
    storage.kind = StorageType::Nfs;
    storage.shared = true;
    settings.storages.insert(SHARED_STORAGE.to_owned(), storage);
    settings
}

/// Two nodes, and a token that may do all that an operator needs.
pub fn two_nodes() -> Settings {
    let mut settings = Settings::two_nodes("root");
    let (user, token) = TOKEN.split_once('!').expect("a token");
    settings.add_token(user, token, SECRET, "PVEAdmin", "/");
    settings
}

impl Cluster {
    /// A cluster with real containers and the template [`TEMPLATE`] on `pve1`.
    pub async fn with_containers(settings: Settings) -> Self {
        let name = format!("test-{}", word());
        docker::with_git();
        let behind = Behind::Docker { name: name.clone(), _cleaner: docker::cleaner(&name) };
        let cluster = Self::start(settings, CLOCK, behind, move || docker::containers(name)).await;
        cluster.make_template(TEMPLATE, &Base::default()).await;
        cluster
    }

    /// A cluster whose containers are only remembered, with the template [`TEMPLATE`] on `pve1`. A
    /// Workspace comes as far as a running container, which never gets an address.
    pub async fn in_memory(settings: Settings, clock: Clock) -> Self {
        let containers = || {
            let containers = MemoryContainers::default();
            (100..FIRST + 10 * RANGE).for_each(|vmid| containers.lease(vmid, &[]));
            Arc::new(containers) as Arc<dyn Containers>
        };
        let cluster = Self::start(settings, clock, Behind::Memory, containers).await;
        cluster.make_template(TEMPLATE, &Base::default()).await;
        cluster
    }

    async fn start(
        settings: Settings,
        clock: Clock,
        behind: Behind,
        containers: impl FnOnce() -> Arc<dyn Containers> + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("no temporary folder");
        let (started, running) = oneshot::channel();
        let (ends, ended) = oneshot::channel::<()>();
        let keys = folder.path().to_owned();
        // Each test has a runtime of its own, and a shared cluster outlives them.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("no runtime").block_on(async {
                let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
                let names = vec!["127.0.0.1".to_owned()];
                let options = Options { settings, clock, listen: loopback, control: loopback, names };
                let containers = containers();
                let simulator = Simulator::start(options, Arc::clone(&containers)).await;
                let simulator = simulator.expect("it does not start");
                let nodes = nodes::serve(&simulator.cluster, &containers, &keys).await;
                let certificate = simulator.certificate.pem.clone();
                let cluster = Arc::clone(&simulator.cluster);
                let _ = started.send((simulator.address, certificate, cluster, nodes));
                let _ = ended.await;
            });
        });
        let (address, certificate, simulated, nodes) = running.await.expect("the simulator does not start");
        std::fs::write(folder.path().join("token"), SECRET).expect("no token");
        std::fs::write(folder.path().join("ca.pem"), &certificate).expect("no certificate");
        let key = folder.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status();
        assert!(made.expect("no ssh-keygen").success());
        let (ranges, own, second_bridge) = (AtomicU32::new(FIRST), AtomicU32::new(OWN), OnceCell::new());
        Self {
            address,
            certificate,
            folder,
            ranges,
            own,
            nodes,
            second_bridge,
            simulated,
            behind,
            _ends: ends,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A file of the operator's.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A backend of the operator's configuration, for this cluster.
    /// Each has VMIDs of its own, and reaches the cluster at a port.
    pub fn backend(&self, port: u16) -> Value {
        let first = self.ranges.fetch_add(RANGE, Ordering::Relaxed);
        json!({
            "name": "pve",
            "tenantsMaySet": [
                "proxmox.node", "proxmox.vmid", "proxmox.storage", "proxmox.adoptExisting",
                "network.bridge", "network.vlan", "network.static",
            ],
            "proxmox": {
                "endpoints": [format!("https://127.0.0.1:{port}")],
                "vmids": {
                    "workspaces": {"first": first, "last": first + 29},
                    "templates": {"first": first + 30, "last": first + RANGE - 1},
                },
                "token": {"id": TOKEN, "secretFile": self.file("token")},
                "tls": {"caFile": self.file("ca.pem")},
                "disk": "4Gi",
                "pollInterval": "300ms",
                "ssh": {"keyFile": self.file("key")},
            },
        })
    }

    /// The same, with a way onto the nodes.
    pub fn backend_with_host_ssh(&self, port: u16) -> Value {
        let mut backend = self.backend(port);
        let addresses = self.nodes.iter().map(|(name, address)| (name, address.to_string()));
        backend["proxmox"]["hostSsh"] = json!({
            "keyFile": self.file(nodes::KEY),
            "knownHostsFile": self.file(nodes::KNOWN_HOSTS),
            "addresses": addresses.collect::<BTreeMap<_, _>>(),
        });
        backend
    }

    /// Fails where there is no `pct` on the nodes.
    pub fn expect_pct(&self) {
        let program = nodes::program();
        let hint = "cargo test --package berth-proxmox-simulator --tests --no-run";
        assert!(program.exists(), "{} is missing: {hint}", program.display());
    }

    /// The network that is the bridge `vmbr1`, and its gateway.
    pub async fn second_bridge(&self) -> &(String, String) {
        let Behind::Docker { name, .. } = &self.behind else { panic!("it has no real networks") };
        self.second_bridge.get_or_init(async || docker::make_bridge(name, "vmbr1")).await
    }

    /// A file of authorities as large as that of a whole system: more than a variable can hold.
    pub fn large_bundle(&self) -> PathBuf {
        let file = self.file("bundle.pem");
        let comments = "# an authority of the system\n".repeat(10_000);
        std::fs::write(&file, comments + &self.certificate).expect("no bundle");
        file
    }

    /// A client of its API, with the operator's token.
    pub fn client(&self) -> Client {
        let connection = Connection {
            endpoints: vec![format!("https://127.0.0.1:{}", self.port()).parse().expect("an address")],
            token: ApiToken { id: TOKEN.to_owned(), secret: SECRET.to_owned().into() },
            trust: Trust::Authorities(self.certificate.clone()),
            limits: Limits::default(),
        };
        Client::new(&connection).expect("no client")
    }

    async fn finish(&self, upid: &Upid) {
        let state = self.client().wait_for_task(upid, PATIENCE).await.expect("the task can not be looked at");
        assert!(matches!(state, TaskState::Done { .. }), "{upid:?}: {state:?}");
    }

    /// The configuration of a container, as a client sees it.
    pub async fn configuration(&self, vmid: u32) -> Option<Configuration> {
        let node = self.simulated.state().guests.get(&vmid).map(|guest| guest.node.clone())?;
        let node: NodeName = node.parse().expect("a node");
        let vmid = VmId::new(vmid).expect("a VMID");
        self.client().configuration(&node, vmid, View::Pending).await.ok()
    }

    /// The containers of an operator, with what they are configured to be.
    pub async fn of_instance(&self, instance: &str) -> BTreeMap<u32, Configuration> {
        let mut found = BTreeMap::new();
        for guest in self.client().guests().await.expect("the cluster does not answer") {
            let Some(configuration) = self.configuration(guest.vmid.get()).await else { continue };
            if configuration.description.contains(&format!("berth-instance: {instance}")) {
                found.insert(guest.vmid.get(), configuration);
            }
        }
        found
    }

    /// The name that a container has in Docker.
    pub fn container(&self, vmid: u32) -> String {
        let Behind::Docker { name, .. } = &self.behind else { panic!("CT {vmid} is only remembered") };
        docker::container(name, vmid)
    }

    /// Runs a shell command in a container as one of its users, in a login shell, and gives what it
    /// prints.
    pub fn exec(&self, vmid: u32, user: &str, script: &str) -> String {
        let shell = ["exec", "--user", user, &self.container(vmid), "sh", "-lc", script];
        super::docker::docker(&shell).join("\n")
    }
}
