//! A Proxmox VE cluster of two nodes with real containers, and a template in it: simulated, one for
//! all tests.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use berth::backend::proxmox::client::{
    ApiToken, Change, Client, Configuration, Connection, CreateRequest, DeleteRequest, Limits, NodeName,
    Setting, TaskState, Trust, Upid, View, VmId,
};
use berth_proxmox_simulator::faults::{Effect, Fault, TaskFault};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use super::{docker::docker, word};

mod start;

use start::Started;

const TOKEN: &str = "berth@pve!operator";
const SECRET: &str = "0f0f0f0f-0000-4000-8000-000000000000";
/// VMID of the template.
pub const TEMPLATE: u32 = 500;
/// The storage that both nodes have; every other is of one node alone.
pub const SHARED_STORAGE: &str = "share";
/// How long a task of the cluster may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many VMIDs one test has, for workspaces and for templates.
const RANGE: u32 = 40;
/// The first of the VMIDs that no operator gives out. Some above are named in tests, or are nobody's.
const OWN: u32 = 610;

/// A running cluster, which every test of this process shares.
pub struct Cluster {
    started: Started,
    /// The name of its containers in Docker.
    name: String,
    folder: tempfile::TempDir,
    ranges: AtomicU32,
    own: AtomicU32,
    /// The network that is the bridge `vmbr1`, once it is needed.
    second_bridge: Mutex<Option<(String, String)>>,
    // Its end tells the cleaner that this process is over.
    _cleaner: Child,
}

/// A container that an administrator makes on `pve1`.
pub struct Base<'a> {
    /// What stands in its notes.
    pub notes: &'a str,
    /// Where its disk is.
    pub storage: &'a str,
    /// Whether it has the operator's key.
    pub key: bool,
    /// Lines for its configuration that only root may write.
    pub lines: &'a str,
}

impl Default for Base<'_> {
    fn default() -> Self {
        Self { notes: "", storage: "local-lvm", key: true, lines: "" }
    }
}

/// The cluster, with the template [`TEMPLATE`] on `pve1`.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start().await;
            cluster.make_template(TEMPLATE, &Base::default()).await;
            cluster
        })
        .await
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("no temporary folder");
        let name = format!("test-{}", word());
        let started = start::start(&name, folder.path()).await;
        Self {
            started,
            _cleaner: start::cleaner(&name),
            name,
            folder,
            ranges: AtomicU32::new(1000),
            own: AtomicU32::new(OWN),
            second_bridge: Mutex::default(),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.started.address.port()
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
        let addresses = self.started.nodes.iter().map(|(name, address)| (name, address.to_string()));
        backend["proxmox"]["hostSsh"] = json!({
            "keyFile": self.file("node-key"),
            "knownHostsFile": self.file("known_hosts"),
            "addresses": addresses.collect::<BTreeMap<_, _>>(),
        });
        backend
    }

    /// A client of its API, with the operator's token.
    pub fn client(&self) -> Client {
        let connection = Connection {
            endpoints: vec![format!("https://127.0.0.1:{}", self.port()).parse().expect("an address")],
            token: ApiToken { id: TOKEN.to_owned(), secret: SECRET.to_owned().into() },
            trust: Trust::Authorities(self.started.certificate.clone()),
            limits: Limits::default(),
        };
        Client::new(&connection).expect("no client")
    }

    async fn finish(&self, upid: &Upid) {
        let state = self.client().wait_for_task(upid, PATIENCE).await.expect("the task can not be looked at");
        assert!(matches!(state, TaskState::Done { .. }), "{upid:?}: {state:?}");
    }

    /// A VMID that nobody else uses, and no operator gives out.
    pub fn vmid(&self) -> u32 {
        self.own.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a container on `pve1` with the operator's key.
    pub async fn make_container(&self, vmid: u32, notes: &str) {
        self.make(vmid, &Base { notes, ..Base::default() }).await;
    }

    /// Makes a container.
    pub async fn make(&self, vmid: u32, base: &Base<'_>) {
        let client = self.client();
        let key = std::fs::read_to_string(self.file("key.pub")).expect("no key");
        let configuration = Change {
            hostname: "base".parse().ok(),
            description: Some(base.notes.to_owned()),
            networks: [(0, Setting::Set("name=eth0,bridge=vmbr0,ip=dhcp".parse().expect("net0")))].into(),
            ..Change::default()
        };
        let request = CreateRequest {
            vmid: number(vmid),
            archive: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst".parse().expect("an archive"),
            storage: base.storage.parse().expect("a storage"),
            disk_gib: 2,
            unprivileged: true,
            ssh_public_keys: base.key.then(|| key.trim().to_owned()),
            password: None,
            pool: None,
            configuration,
        };
        let upid = client.create_container(&node("pve1"), &request).await.expect("the container is refused");
        self.finish(&upid).await;
        let text = self.file_of(vmid).await + base.lines;
        let written = self.started.cluster.set_config_text("pve1", vmid, &text).await;
        written.expect("the lines are refused");
    }

    /// Makes a template on `pve1`.
    pub async fn make_template(&self, vmid: u32, base: &Base<'_>) {
        self.make(vmid, base).await;
        self.client().make_template(&node("pve1"), number(vmid)).await.expect("it can not be a template");
        super::eventually(PATIENCE, "it is a template", || async {
            match self.configuration(vmid).await {
                Some(configuration) if configuration.template => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The node of a container.
    pub fn node_of(&self, vmid: u32) -> Option<String> {
        self.started.cluster.state().guests.get(&vmid).map(|guest| guest.node.clone())
    }

    fn place(&self, vmid: u32) -> (NodeName, VmId) {
        (node(&self.node_of(vmid).expect("it is there")), number(vmid))
    }

    /// The configuration file of a container, as root reads it on its node.
    pub async fn file_of(&self, vmid: u32) -> String {
        let node = self.node_of(vmid).expect("it is there");
        self.started.cluster.config_text(&node, vmid).await.expect("it is there")
    }

    /// Adds lines to the configuration file of a container, as root does.
    pub async fn add_lines(&self, vmid: u32, lines: &str) {
        let node = self.node_of(vmid).expect("it is there");
        let text = self.file_of(vmid).await + lines;
        self.started.cluster.set_config_text(&node, vmid, &text).await.expect("the lines are refused");
    }

    /// The configuration of a container.
    pub async fn configuration(&self, vmid: u32) -> Option<Configuration> {
        let node = node(&self.node_of(vmid)?);
        self.client().configuration(&node, number(vmid), View::Pending).await.ok()
    }

    /// Starts a container, as another client.
    pub async fn boot(&self, vmid: u32) {
        let (node, vmid) = self.place(vmid);
        let upid = self.client().start(&node, vmid).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Restarts a container, as another client.
    pub async fn reboot(&self, vmid: u32) {
        let (node, vmid) = self.place(vmid);
        let upid = self.client().reboot(&node, vmid, Duration::from_secs(5)).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Removes a container, running or not, as another client.
    pub async fn destroy(&self, vmid: u32) {
        let (node, vmid) = self.place(vmid);
        let request = DeleteRequest { force: true, purge: true, unreferenced_disks: false };
        let upid = self.client().delete_container(&node, vmid, request).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Refuses a call from now on.
    pub fn refuse(&self, method: &str, path: String, reason: &str) {
        let effect = Effect::Answer { status: 500, reason: reason.to_owned() };
        let fault = Fault { method: Some(method.to_owned()), path, times: u32::MAX, effect };
        self.started.cluster.faults.plan(fault);
    }

    /// Lets the next task of a type about a container fail.
    pub fn fail_task(&self, kind: &str, vmid: &Value, words: &str) {
        let (kind, id) = (kind.to_owned(), Some(vmid.to_string()));
        let fault = TaskFault { kind, id, times: 1, error: Some(words.to_owned()), delay_milliseconds: 0 };
        self.started.cluster.faults.plan_task(fault);
    }

    /// The network that is the bridge `vmbr1`, and its gateway.
    pub async fn second_bridge(&self) -> (String, String) {
        let mut made = self.second_bridge.lock().await;
        made.get_or_insert_with(|| start::make_bridge(&self.name, "vmbr1")).clone()
    }

    /// The simulator's program, without which there is no `pct` on the nodes.
    pub fn expect_pct(&self) {
        let program = start::program();
        let hint = "cargo test --package berth-proxmox-simulator --tests --no-run";
        assert!(program.exists(), "{} is missing: {hint}", program.display());
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

    /// Every call that was made to it so far: method, path, parameters and status.
    pub async fn calls(&self) -> Vec<Value> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.started.control).await.expect("no control");
        let request = "GET /calls HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("it takes no request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it does not answer");
        let text = String::from_utf8_lossy(&answer);
        let (from, to) = (text.find('[').expect("a list"), text.rfind(']').expect("a list"));
        serde_json::from_str(&text[from..=to]).expect("no calls")
    }

    /// How often a call on a container was answered well, by the end of its path.
    pub async fn times(&self, method: &str, vmid: u32, end: &str) -> usize {
        let end = format!("/lxc/{vmid}/{end}");
        let is_meant = |call: &&Value| {
            call["method"] == method
                && call["status"] == 200
                && call["path"].as_str().is_some_and(|path| path.ends_with(&end))
        };
        self.calls().await.iter().filter(is_meant).count()
    }

    /// The name that a container has in Docker.
    pub fn container(&self, vmid: u32) -> String {
        format!("pve-sim-{}-{vmid}", self.name)
    }

    /// Runs a shell command in a container as one of its users, in a login shell, and gives what it
    /// prints.
    pub fn exec(&self, vmid: u32, user: &str, script: &str) -> String {
        let shell = ["exec", "--user", user, &self.container(vmid), "sh", "-lc", script];
        docker(&shell).join("\n")
    }
}

fn node(name: &str) -> NodeName {
    name.parse().expect("a node")
}

fn number(vmid: u32) -> VmId {
    VmId::new(vmid).expect("a VMID")
}
