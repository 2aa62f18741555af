//! The real operator as a process of its own, to be killed, stopped and started again.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{eventually, word};

/// What an operator is told.
#[derive(Clone)]
pub struct Settings {
    /// The kubeconfig it uses.
    pub kubeconfig: PathBuf,
    /// The configuration file, as a value that a test may change before the start.
    pub config: Value,
    /// Its mark on the backends.
    pub instance: String,
    /// The part of it to run, as `--role` takes it.
    pub role: &'static str,
}

impl Settings {
    /// An operator for one namespace with the Docker daemon of this machine. Each gets a range of
    /// addresses of its own, so that tests can run side by side.
    pub fn docker(kubeconfig: PathBuf, namespace: &str) -> Self {
        Self::new(
            kubeconfig,
            namespace,
            json!([{
                "name": "docker",
                "tenantsMaySet": ["docker.host"],
                "docker": {
                    "hosts": [{"name": "local", "endpoint": "unix:///var/run/docker.sock"}],
                    "networkRange": address_range(),
                },
            }]),
        )
    }

    /// An operator for one namespace with these backends.
    pub fn new(kubeconfig: PathBuf, namespace: &str, backends: Value) -> Self {
        let instance = format!("test-{}", word());
        let config = json!({
            "instance": instance,
            "namespace": namespace,
            "watchNamespaces": [namespace],
            "backends": backends,
            "listen": "127.0.0.1:0",
            "leaderElection": {"leaseName": "berth", "duration": "3s", "renewInterval": "500ms"},
            "controller": {"resync": "5s"},
            "log": {"format": "Text", "filter": "info,berth=debug"},
        });
        Self { kubeconfig, config, instance, role: "all" }
    }
}

impl Settings {
    /// An operator as [`Settings::docker`] has it, with a gateway and agents in its workspaces.
    pub fn with_gateway(kubeconfig: PathBuf, namespace: &str) -> Self {
        let mut settings = Self::docker(kubeconfig, namespace);
        let port = free_port();
        settings.config["gateway"] = json!({
            "listen": format!("0.0.0.0:{port}"),
            "publicURL": format!("http://localhost:{port}"),
            // Docker's own bridge: workspaces' networks reach the host there.
            "agentURLs": [format!("http://{}:{port}", docker_bridge())],
            "internal": {"listen": "127.0.0.1:0"},
            "agent": {"binary": agent_binary()},
        });
        settings.config["preview"] = json!({"domain": "localhost", "scheme": "http", "port": port});
        settings
    }

    /// The gateway's address from this machine.
    pub fn gateway_url(&self) -> String {
        self.config["gateway"]["publicURL"].as_str().expect("no gateway").to_owned()
    }
}

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("no free port");
    listener.local_addr().expect("no address").port()
}

/// The host's address on Docker's own bridge.
pub fn docker_bridge() -> String {
    let output = std::process::Command::new("docker")
        .args(["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])
        .output()
        .expect("docker does not run");
    String::from_utf8(output.stdout).expect("no text").trim().to_owned()
}

/// The static agent that `hack/agent.sh` builds.
pub fn agent_binary() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| super::checkout().join("target"), PathBuf::from);
    let binary = target.join(format!("{}-unknown-linux-gnu/release/berth-agent", std::env::consts::ARCH));
    assert!(binary.exists(), "{} is missing: run hack/agent.sh", binary.display());
    binary
}

/// A range of 256 addresses, 16 workspaces, that no other test of this machine is likely to use.
fn address_range() -> String {
    let [second, third] = rand::random::<[u8; 2]>();
    format!("10.{}.{third}.0/24", 128 + second % 64)
}

/// A running operator.
pub struct Operator {
    /// What it is told at its next start.
    pub settings: Settings,
    folder: tempfile::TempDir,
    child: Child,
    /// Where it serves health and metrics.
    pub address: String,
}

impl Operator {
    /// Starts one and waits until it serves its health.
    pub async fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("no temporary folder");
        let (child, address) = launch(&settings, &folder).await;
        Self { settings, folder, child, address }
    }

    /// Ends it the hard way, in the middle of whatever it does.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can not be killed");
    }

    /// Starts it again, after it was killed or stopped.
    pub async fn restart(&mut self) {
        let (child, address) = launch(&self.settings, &self.folder).await;
        self.child = child;
        self.address = address;
    }

    /// Asks it to stop, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().expect("it runs");
        let signalled =
            std::process::Command::new("kill").arg(id.to_string()).status().expect("kill does not start");
        assert!(signalled.success());
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .expect("it does not stop")
            .expect("it can not be waited for")
    }

    /// Freezes (`STOP`) or thaws (`CONT`) it.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill does not start").success());
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it is gone");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("no VmRSS");
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("no number") << 10
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it serves under a path.
    pub async fn get(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.expect("it does not listen");
        let request = format!("GET {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it takes no request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it does not answer");
        let code =
            answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("no status code");
        (code, answer)
    }

    /// Its mark on the backends.
    pub fn instance(&self) -> &str {
        &self.settings.instance
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the operator's log, its end:");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

async fn launch(settings: &Settings, folder: &tempfile::TempDir) -> (Child, String) {
    let config = folder.path().join("berth.yaml");
    let text = serde_yaml::to_string(&settings.config).expect("the configuration is no YAML");
    std::fs::write(&config, text).expect("the configuration can not be written");
    let path = folder.path().join("log");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&path).expect("no log");
    let start = log.metadata().map(|metadata| metadata.len()).unwrap_or_default() as usize;
    let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["run", "--config"])
        .arg(&config)
        .args(["--role", settings.role])
        .env("KUBECONFIG", &settings.kubeconfig)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("berth does not start");
    let address = eventually(Duration::from_secs(20), "the operator serves its health", || {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let fresh = log.get(start..).unwrap_or_default().to_owned();
        let ended = child.try_wait().ok().flatten();
        async move {
            assert!(ended.is_none(), "the operator ended: {ended:?}\n{fresh}");
            let address = fresh.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            address.map(str::to_owned).ok_or(fresh.clone())
        }
    })
    .await;
    (child, address)
}
