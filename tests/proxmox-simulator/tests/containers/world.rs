//! A cluster's containers for one test, and how they are looked at.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use berth_proxmox_simulator::containers::{
    Boot, Containers, Nic, Output, Setup,
    docker::{DockerContainers, Settings, cleanup},
};
use bollard::Docker;
use tokio::sync::OnceCell;

/// The OS template with systemd.
pub const SYSTEMD: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";
/// The one without.
pub const SYSVINIT: &str = "local:vztmpl/debian-12-sysvinit_12.7-1_amd64.tar.zst";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// The containers of one test and the key to them. What they leave in Docker is removed when the
/// test ends, whichever way.
pub struct World {
    pub containers: Arc<DockerContainers>,
    pub docker: Docker,
    pub cluster: String,
    folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        static IMAGES: OnceCell<()> = OnceCell::const_new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        IMAGES.get_or_init(make_images).await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("test-{}-{number}", std::process::id());
        let docker = Docker::connect_with_defaults().unwrap();
        let templates = ["debian-12-standard", "debian-12-sysvinit"]
            .map(|name| (name.to_owned(), format!("berth-demo/{name}:bookworm")));
        let settings =
            Settings { cluster: cluster.clone(), templates: templates.into(), bridges: BTreeMap::new() };
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key).status();
        assert!(made.unwrap().success());
        let containers = Arc::new(DockerContainers::new(docker.clone(), settings));
        Self { containers, docker, cluster, folder }
    }

    /// The public key that every container is given.
    pub fn public_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("key.pub")).unwrap()
    }

    pub async fn create(&self, vmid: u32, os_template: &str) {
        let setup = Setup {
            hostname: format!("ct{vmid}"),
            root_password: None,
            ssh_public_keys: Some(self.public_key()),
        };
        self.containers.create(vmid, os_template, &setup).await.unwrap();
    }

    /// Runs a script inside.
    pub async fn sh(&self, vmid: u32, script: &str) -> Output {
        let argv = ["sh", "-c", script].map(str::to_owned);
        self.containers.exec(vmid, &argv, &[]).await.unwrap()
    }

    /// What a script inside writes, without the end of its last line. It must succeed.
    pub async fn read(&self, vmid: u32, script: &str) -> String {
        let output = self.sh(vmid, script).await;
        assert_eq!(output.code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The address of eth0, as soon as there is one.
    pub async fn address(&self, vmid: u32) -> String {
        eventually("an address", || async {
            let state = self.containers.state(vmid).await.unwrap();
            let eth0 = state.interfaces.into_iter().find(|interface| interface.name == "eth0")?;
            eth0.inet.first().and_then(|address| address.split('/').next()).map(str::to_owned)
        })
        .await
    }

    /// OpenSSH's client with this world's key.
    pub fn ssh_command(&self) -> tokio::process::Command {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-i"])
            .arg(self.folder.path().join("key"));
        ssh
    }

    /// Runs a command over SSH, as soon as the container lets one in.
    pub async fn ssh(&self, address: &str, command: &str) -> String {
        eventually("an SSH log-in", || async {
            let ssh = self
                .ssh_command()
                .args([&format!("root@{address}"), command])
                .stdin(Stdio::null())
                .output()
                .await
                .unwrap();
            ssh.status.success().then(|| String::from_utf8(ssh.stdout).unwrap().trim_end().to_owned())
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (docker, cluster) = (self.docker.clone(), self.cluster.clone());
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(cleanup(&docker, Some(&cluster)))
        });
        if let Ok(Err(error)) = removed.join() {
            eprintln!("{}: {error}", self.cluster);
        }
    }
}

/// A boot with one network card.
pub fn boot(hostname: &str, ip: &str) -> Boot {
    let nic = Nic {
        name: "eth0".to_owned(),
        bridge: "vmbr0".to_owned(),
        hwaddr: "BC:24:11:AA:BB:01".to_owned(),
        ip: Some(ip.to_owned()),
        gw: None,
        tag: None,
    };
    Boot {
        hostname: hostname.to_owned(),
        node: "pve1".to_owned(),
        net: vec![nic],
        nameserver: None,
        searchdomain: None,
        memory_mib: 256,
        cores: Some(1),
    }
}

/// What `look` finds, as soon as it finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        tokio::time::sleep(POLL).await;
    }
}

async fn make_images() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/proxmox-images.sh");
    let made = tokio::process::Command::new(script).status().await.unwrap();
    assert!(made.success(), "hack/proxmox-images.sh failed");
}
