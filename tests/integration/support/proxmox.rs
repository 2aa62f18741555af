//! A Proxmox VE cluster of two nodes with real containers, and a template in it: simulated, one for
//! all tests.

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
    ApiToken, Change, Client, Configuration, Connection, CreateRequest, DeleteRequest, Limits, NodeName,
    Setting, TaskState, Trust, Upid, View, VmId,
};
use berth_proxmox_simulator::{
    Options, Simulator,
    clock::Clock,
    containers::{
        Containers,
        docker::{self, DockerContainers},
    },
    settings::Settings,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    docker::{docker, run},
    word,
};

const TOKEN: &str = "berth@pve!operator";
const SECRET: &str = "0f0f0f0f-0000-4000-8000-000000000000";
/// OS template of Debian 12 with systemd, made by hack/proxmox-images.sh.
const OS_IMAGE: &str = "berth-demo/debian-12-standard:bookworm";
/// The same with git, made once on a machine.
const GIT_IMAGE: &str = "berth-demo/debian-12-git:bookworm";
/// VMID of the template.
pub const TEMPLATE: u32 = 500;
/// How long a task of the cluster may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Label of everything of a simulated cluster in Docker.
const LABEL: &str = "dev.berth.proxmox-simulator.cluster";
/// How many VMIDs one test has, for workspaces and for templates.
const RANGE: u32 = 40;

/// A running cluster, which every test of this process shares.
pub struct Cluster {
    address: SocketAddr,
    control: SocketAddr,
    certificate: String,
    /// The name of its containers in Docker.
    name: String,
    folder: tempfile::TempDir,
    ranges: AtomicU32,
    // Its end tells the cleaner that this process is over.
    _cleaner: Child,
}

/// The cluster, with the template [`TEMPLATE`] on `pve1`.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start().await;
            cluster.make_template().await;
            cluster
        })
        .await
}

impl Cluster {
    async fn start() -> Self {
        with_git();
        let folder = tempfile::tempdir().expect("no temporary folder");
        let name = format!("test-{}", word());
        let started = tokio::sync::oneshot::channel();
        let cluster_name = name.clone();
        // Each test has a runtime of its own, and the cluster outlives them.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("no runtime").block_on(async {
                let simulator = simulator(&cluster_name).await;
                let told = (simulator.address, simulator.control, simulator.certificate.pem.clone());
                let _ = started.0.send(told);
                std::future::pending::<()>().await;
            });
        });
        let (address, control, certificate) = started.1.await.expect("the simulator does not start");
        std::fs::write(folder.path().join("token"), SECRET).expect("no token");
        std::fs::write(folder.path().join("ca.pem"), &certificate).expect("no certificate");
        let key = folder.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status();
        assert!(made.expect("no ssh-keygen").success());
        let ranges = AtomicU32::new(1000);
        let cleaner = cleaner(&name);
        Self { address, control, certificate, name, folder, ranges, _cleaner: cleaner }
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

    /// Makes a container on `pve1` with the operator's key, as an administrator would.
    pub async fn make_container(&self, vmid: u32, notes: &str) {
        let client = self.client();
        let key = std::fs::read_to_string(self.file("key.pub")).expect("no key");
        let configuration = Change {
            hostname: "base".parse().ok(),
            description: Some(notes.to_owned()),
            networks: [(0, Setting::Set("name=eth0,bridge=vmbr0,ip=dhcp".parse().expect("net0")))].into(),
            ..Change::default()
        };
        let request = CreateRequest {
            vmid: VmId::new(vmid).expect("a VMID"),
            archive: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst".parse().expect("an archive"),
            storage: "local-lvm".parse().expect("a storage"),
            disk_gib: 2,
            unprivileged: true,
            ssh_public_keys: Some(key.trim().to_owned()),
            password: None,
            pool: None,
            configuration,
        };
        let upid = client.create_container(&node(), &request).await.expect("the container is refused");
        self.finish(&upid).await;
    }

    async fn make_template(&self) {
        self.make_container(TEMPLATE, "").await;
        let vmid = VmId::new(TEMPLATE).expect("a VMID");
        self.client().make_template(&node(), vmid).await.expect("it can not be a template");
        super::eventually(PATIENCE, "it is a template", || async {
            match self.configuration(TEMPLATE).await {
                Some(configuration) if configuration.template => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The configuration of a container on `pve1`.
    pub async fn configuration(&self, vmid: u32) -> Option<Configuration> {
        let vmid = VmId::new(vmid).expect("a VMID");
        self.client().configuration(&node(), vmid, View::Pending).await.ok()
    }

    /// Restarts a container, as another client.
    pub async fn reboot(&self, vmid: u32) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let upid = self.client().reboot(&node(), vmid, Duration::from_secs(5)).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Removes a container, running or not, as another client.
    pub async fn destroy(&self, vmid: u32) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let request = DeleteRequest { force: true, purge: true, unreferenced_disks: false };
        let upid = self.client().delete_container(&node(), vmid, request).await.expect("it is refused");
        self.finish(&upid).await;
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
        let mut stream = tokio::net::TcpStream::connect(self.control).await.expect("no control");
        let request = "GET /calls HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("it takes no request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it does not answer");
        let text = String::from_utf8_lossy(&answer);
        let (from, to) = (text.find('[').expect("a list"), text.rfind(']').expect("a list"));
        serde_json::from_str(&text[from..=to]).expect("no calls")
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

async fn simulator(name: &str) -> Simulator {
    let templates = BTreeMap::from([
        ("debian-12-standard".to_owned(), GIT_IMAGE.to_owned()),
        ("debian-12-sysvinit".to_owned(), "berth-demo/debian-12-sysvinit:bookworm".to_owned()),
    ]);
    let containers = docker::Settings { cluster: name.to_owned(), templates, bridges: BTreeMap::new() };
    let daemon = bollard::Docker::connect_with_defaults().expect("no Docker");
    let containers: Arc<dyn Containers> = Arc::new(DockerContainers::new(daemon, containers));
    let mut settings = Settings::two_nodes("root");
    let (user, token) = TOKEN.split_once('!').expect("a token");
    settings.add_token(user, token, SECRET, "PVEAdmin", "/");
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

/// Removes the cluster's containers and networks when this process is over, however it ends.
fn cleaner(name: &str) -> Child {
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

fn node() -> NodeName {
    "pve1".parse().expect("a node")
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
