//! A Proxmox VE cluster of two nodes with real containers, and a template in it.

use std::{
    collections::BTreeMap, net::SocketAddr, path::PathBuf, process::Command, sync::Arc, time::Duration,
};

use berth::backend::proxmox::client::{
    ApiToken, Change, Client, Configuration, Connection, CreateRequest, Limits, NodeName, Setting, TaskState,
    Trust, Upid, View, VmId,
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

/// A running cluster. Its containers are removed with it.
pub struct Cluster {
    simulator: Simulator,
    /// The real containers behind it.
    pub containers: Arc<DockerContainers>,
    /// The name of its containers in Docker.
    pub name: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster whose token has a role, with the template [`TEMPLATE`] on `pve1`.
    pub async fn start() -> Self {
        let cluster = Self::empty("PVEAdmin").await;
        cluster.make_template().await;
        cluster
    }

    /// Starts a cluster with nothing in it.
    pub async fn empty(role: &str) -> Self {
        with_git().await;
        let folder = tempfile::tempdir().expect("no temporary folder");
        let name = format!("test-{}", word());
        let templates = BTreeMap::from([
            ("debian-12-standard".to_owned(), GIT_IMAGE.to_owned()),
            ("debian-12-sysvinit".to_owned(), "berth-demo/debian-12-sysvinit:bookworm".to_owned()),
        ]);
        let containers = docker::Settings { cluster: name.clone(), templates, bridges: BTreeMap::new() };
        let daemon = bollard::Docker::connect_with_defaults().expect("no Docker");
        let containers = Arc::new(DockerContainers::new(daemon, containers));
        let mut settings = Settings::two_nodes("root");
        let (user, token) = TOKEN.split_once('!').expect("a token");
        settings.add_token(user, token, SECRET, role, "/");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            settings,
            clock: Clock { work: 0.02, patience: 1.0 },
            listen: loopback,
            control: loopback,
            names: vec!["127.0.0.1".to_owned()],
        };
        let shared: Arc<dyn Containers> = Arc::<DockerContainers>::clone(&containers);
        let simulator = Simulator::start(options, shared).await.expect("the simulator does not start");
        std::fs::write(folder.path().join("token"), SECRET).expect("no token");
        std::fs::write(folder.path().join("ca.pem"), &simulator.certificate.pem).expect("no certificate");
        let key = folder.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status();
        assert!(made.expect("no ssh-keygen").success());
        Self { simulator, containers, name, folder }
    }

    /// A file of the operator's.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A backend of the operator's configuration, for this cluster.
    pub fn backend(&self) -> Value {
        json!({
            "name": "pve",
            "tenantsMaySet": [
                "proxmox.node", "proxmox.vmid", "proxmox.storage", "proxmox.adoptExisting",
                "network.bridge", "network.vlan", "network.static",
            ],
            "proxmox": {
                "endpoints": [format!("https://127.0.0.1:{}", self.simulator.address.port())],
                "token": {"id": TOKEN, "secretFile": self.file("token")},
                "tls": {"caFile": self.file("ca.pem")},
                "disk": "4Gi",
                "pollInterval": "300ms",
                "ssh": {"keyFile": self.file("key")},
            },
        })
    }

    /// A client of its API, with the operator's token.
    pub fn client(&self) -> Client {
        let connection = Connection {
            endpoints: vec![
                format!("https://127.0.0.1:{}", self.simulator.address.port()).parse().expect("an address"),
            ],
            token: ApiToken { id: TOKEN.to_owned(), secret: SECRET.to_owned().into() },
            trust: Trust::Authorities(self.simulator.certificate.pem.clone()),
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

    /// The VMIDs of everything on it, the template left out.
    pub async fn vmids(&self) -> Vec<u32> {
        let guests = self.client().guests().await.expect("the cluster does not answer");
        let mut vmids: Vec<u32> = guests.iter().map(|guest| guest.vmid.get()).collect();
        vmids.sort_unstable();
        vmids.retain(|vmid| *vmid != TEMPLATE);
        vmids
    }

    /// Runs a shell command in a container as its root, and gives what it prints.
    pub async fn exec(&self, vmid: u32, script: &str) -> String {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let output = self.containers.exec(vmid, &argv, b"").await.expect("it can not be run");
        assert_eq!(output.code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let filter = format!("name=pve-sim-{}-", self.name);
        let listed = lines(&["ps", "--all", "--quiet", "--filter", &filter]);
        let ids: Vec<&str> = listed.iter().map(String::as_str).collect();
        if !ids.is_empty() {
            let _ = run(&[["rm", "--force", "--volumes"].as_slice(), &ids].concat());
        }
        for network in lines(&["network", "ls", "--quiet", "--filter", &format!("name={}", self.name)]) {
            let _ = run(&["network", "rm", &network]);
        }
    }
}

fn lines(arguments: &[&str]) -> Vec<String> {
    String::from_utf8_lossy(&run(arguments).stdout).lines().map(str::to_owned).collect()
}

fn node() -> NodeName {
    "pve1".parse().expect("a node")
}

/// Makes the image with git, once on a machine: packages come from the distribution's mirror.
async fn with_git() {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(|| async {
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
    })
    .await;
}
