//! A plain HTTP client: bytes over TLS, nothing hidden.

use std::{sync::Arc, time::Duration};

use berth_proxmox_simulator::{
    Options, Simulator, clock::Clock, containers::memory::MemoryContainers, settings::Settings,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The token of a user who may do everything but be root.
pub const TOKEN: &str = "Authorization: PVEAPIToken=berth@pve!ci=secret\r\n";

/// An answer, taken apart.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub head: String,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["data"].clone()
    }

    pub fn error(&self, parameter: &str) -> String {
        self.json()["errors"][parameter].as_str().unwrap_or_default().to_owned()
    }
}

/// A cluster and who talks to it.
pub struct World {
    pub simulator: Simulator,
    pub containers: Arc<MemoryContainers>,
}

impl World {
    /// A cluster whose hours are seconds.
    pub async fn new() -> Self {
        Self::with(|_| {}, 0.01).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings), scale: f64) -> Self {
        let mut settings = Settings::two_nodes("root-password");
        settings.add_token("berth@pve", "ci", "secret", "PVEAdmin", "/");
        change(&mut settings);
        let containers = Arc::new(MemoryContainers::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            settings,
            clock: Clock { work: scale, patience: scale },
            listen: any,
            control: any,
            names: vec!["localhost".into()],
        };
        let behind: Arc<MemoryContainers> = Arc::clone(&containers);
        Self { simulator: Simulator::start(options, behind).await.unwrap(), containers }
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.simulator.certificate.pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.simulator.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends a request as it is written here and reads until the server closes.
    pub async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut stream = self.connect().await;
        let request = format!(
            "{method} /api2/json{path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // An end without a TLS goodbye is one.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
        let mut line = head.lines().next().unwrap().splitn(3, ' ');
        let status = line.nth(1).unwrap().parse().unwrap();
        let reason = line.next().unwrap_or_default().to_owned();
        Reply { status, reason, head: head.to_lowercase(), text: body.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.raw("GET", path, TOKEN, "").await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.raw("DELETE", path, TOKEN, "").await
    }

    pub async fn post(&self, path: &str, form: &str) -> Reply {
        self.form("POST", path, TOKEN, form).await
    }

    pub async fn put(&self, path: &str, form: &str) -> Reply {
        self.form("PUT", path, TOKEN, form).await
    }

    /// Sends pairs of a name and a value, which may hold anything but `&`.
    pub async fn form(&self, method: &str, path: &str, headers: &str, form: &str) -> Reply {
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let form =
            pairs.map(|(name, value)| format!("{name}={}", value.replace('=', "%3D").replace(';', "%3B")));
        let form = form.collect::<Vec<_>>().join("&");
        let headers = format!(
            "{headers}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            form.len()
        );
        self.raw(method, path, &headers, &form).await
    }

    /// Waits for a task and returns how it ended.
    pub async fn ended(&self, upid: &Value) -> String {
        let upid = upid.as_str().unwrap();
        let node = upid.split(':').nth(1).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.get(&format!("/nodes/{node}/tasks/{upid}/status")).await.data();
            if let Some(exit) = status["exitstatus"].as_str() {
                return exit.to_owned();
            }
            assert!(tokio::time::Instant::now() < deadline, "{upid} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A call that forks a worker, and how that ends.
    pub async fn done(&self, reply: Reply) -> String {
        self.ended(&reply.data()).await
    }

    /// Makes a template 9000 on pve1.
    pub async fn template(&self) {
        let created = self.post("/nodes/pve1/lxc", CREATE).await;
        assert_eq!(self.done(created).await, "OK");
        assert_eq!(self.post("/nodes/pve1/lxc/9000/template", "").await.data(), Value::Null);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.get("/nodes/pve1/lxc/9000/config").await.data()["template"] != 1 {
            assert!(tokio::time::Instant::now() < deadline, "no template");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a clone 105 of the template, once there is one.
    pub async fn clone_105(&self) {
        self.template().await;
        let cloned = self.post("/nodes/pve1/lxc/9000/clone", "newid=105&full=1&hostname=one").await;
        assert_eq!(self.done(cloned).await, "OK");
    }
}

/// A container from the OS template without systemd, which needs no nesting.
pub const CREATE: &str = "vmid=9000&ostemplate=local:vztmpl/debian-12-sysvinit_12.7-1_amd64.tar.zst\
    &storage=local-lvm&rootfs=local-lvm:8&net0=name=eth0,bridge=vmbr0,ip=dhcp&hostname=base&tags=B;a;b";
