//! The cluster that is asked, and who asks it.

use std::{collections::BTreeSet, env, sync::Arc};

use berth_proxmox_simulator::{
    Options, Simulator, access::roles, clock::Clock, containers::memory::MemoryContainers, settings::Settings,
};
use bytes::Bytes;
use http::{Request, header};
use serde_json::Value;
use url::Url;

use crate::{
    client::{Answer, Client, body},
    expected::Names,
};

/// The privileges that some case is about.
const PRIVILEGES: &[&str] = &[
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Pool.Allocate",
    "Pool.Audit",
    "SDN.Use",
    "Sys.Audit",
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.Snapshot",
];

/// How much faster than a real cluster the simulator works.
const SPEED: Clock = Clock { work: 0.05, patience: 0.2 };

/// The secret of every simulated token.
const SECRET: &str = "conformance";

/// A cluster with numbers that are ours.
pub struct Target {
    pub client: Client,
    /// What `{node}` and the like stand for.
    pub names: Names,
    /// The VMIDs that may be made and removed.
    pub vmids: Vec<u32>,
    /// Whether it is the simulator.
    pub simulated: bool,
    token: String,
    root_password: Option<String>,
    _simulator: Option<Simulator>,
}

impl Target {
    /// The cluster of the environment, else a simulator. `offset` counts from the first VMID.
    pub async fn from_environment(offset: u32) -> Self {
        match env::var("PROXMOX_URL") {
            Ok(url) => Self::real(&url, offset),
            Err(_) => Self::simulated(offset).await,
        }
    }

    fn real(url: &str, offset: u32) -> Self {
        let needed = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} must be set"));
        let url: Url = url.parse().unwrap();
        let first: u32 = needed("PROXMOX_VMID_FIRST").parse().unwrap();
        let mut names = Names::from([
            ("node".to_owned(), needed("PROXMOX_NODE")),
            ("storage".to_owned(), needed("PROXMOX_STORAGE")),
            ("os_template".to_owned(), needed("PROXMOX_OS_TEMPLATE")),
            ("bridge".to_owned(), env::var("PROXMOX_BRIDGE").unwrap_or("vmbr0".into())),
        ]);
        for (name, variable) in [("directory", "PROXMOX_DIRECTORY"), ("node2", "PROXMOX_SECOND_NODE")] {
            names.extend(env::var(variable).ok().map(|value| (name.to_owned(), value)));
        }
        let client = Client::new(&url, &needed("PROXMOX_FINGERPRINT"));
        let root_password = env::var("PROXMOX_ROOT_PASSWORD").ok();
        let target = Self::new(client, names, first + offset, needed("PROXMOX_TOKEN"));
        Self { root_password, ..target }
    }

    async fn simulated(offset: u32) -> Self {
        let mut settings = Settings::two_nodes(SECRET);
        settings.add_token("berth@pve", "conformance", SECRET, "PVEAdmin", "/");
        settings.add_token("everything@pve", "without", SECRET, "NoAccess", "/");
        let admin = roles::built_in().remove("PVEAdmin").unwrap();
        for privilege in PRIVILEGES {
            let role = format!("without {privilege}");
            let rest: BTreeSet<String> = admin.iter().filter(|name| name != privilege).cloned().collect();
            settings.roles.insert(role.clone(), rest);
            settings.add_token(&format!("{privilege}@pve"), "without", SECRET, &role, "/");
        }
        let any = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            settings,
            clock: SPEED,
            listen: any,
            control: any,
            names: vec!["127.0.0.1".to_owned()],
        };
        let containers = Arc::new(MemoryContainers::default());
        let simulator = Simulator::start(options, containers).await.unwrap();
        let url = format!("https://{}", simulator.address).parse().unwrap();
        let names = [
            ("node", "pve1"),
            ("node2", "pve2"),
            ("storage", "local-lvm"),
            ("directory", "local"),
            ("bridge", "vmbr0"),
            ("os_template", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"),
        ];
        let names = names.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let client = Client::new(&url, &simulator.certificate.fingerprint);
        let token = format!("berth@pve!conformance={SECRET}");
        Self {
            simulated: true,
            root_password: Some(SECRET.to_owned()),
            _simulator: Some(simulator),
            ..Self::new(client, names, 10_000 + offset, token)
        }
    }

    fn new(client: Client, mut names: Names, first: u32, token: String) -> Self {
        let user = token.split_once('=').map(|(user, _)| user.to_owned()).unwrap();
        let vmids: Vec<u32> = (first..first + 3).collect();
        for (name, vmid) in ["ct", "new", "other", "free"].into_iter().zip(first..) {
            names.insert(name.to_owned(), vmid.to_string());
        }
        names.insert("pool".to_owned(), format!("conformance-{first}"));
        names.insert("user".to_owned(), user);
        Self { client, names, vmids, simulated: false, token, root_password: None, _simulator: None }
    }

    /// The headers by which a caller is known; none if there is no such caller here.
    pub async fn credentials(&self, caller: Option<&str>) -> Result<Option<Vec<(String, String)>>, String> {
        let token = |token: String| Some(vec![("authorization".to_owned(), format!("PVEAPIToken={token}"))]);
        Ok(match caller {
            None => token(self.token.clone()),
            Some("nobody") => Some(Vec::new()),
            Some("root") => match &self.root_password {
                Some(password) => Some(self.log_in(password).await?),
                None => None,
            },
            Some(other) => {
                let privilege = other.strip_prefix("without ").ok_or_else(|| format!("who is {other:?}?"))?;
                self.token_without(privilege).and_then(token)
            }
        })
    }

    fn token_without(&self, privilege: &str) -> Option<String> {
        if self.simulated {
            return Some(format!("{privilege}@pve!without={SECRET}"));
        }
        let variable = privilege.replace('.', "_").to_uppercase();
        env::var(format!("PROXMOX_TOKEN_WITHOUT_{variable}")).ok()
    }

    /// Root's ticket, and what goes with it on writes.
    async fn log_in(&self, password: &str) -> Result<Vec<(String, String)>, String> {
        let form = [("username", "root@pam"), ("password", password)];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let login = self.form("POST", "/access/ticket", &[], form).await?.data()?;
        let text = |key: &str| login[key].as_str().unwrap_or_default().to_owned();
        let ticket: String = url::form_urlencoded::byte_serialize(text("ticket").as_bytes()).collect();
        Ok(vec![
            ("cookie".to_owned(), format!("PVEAuthCookie={ticket}")),
            ("csrfpreventiontoken".to_owned(), text("CSRFPreventionToken")),
        ])
    }

    /// A call with the token.
    pub async fn ask(&self, method: &str, path: &str, form: &str) -> Result<Answer, String> {
        let headers = self.credentials(None).await?.unwrap_or_default();
        self.form(method, path, &headers, form.to_owned()).await
    }

    async fn form(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        form: String,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("/api2/json{path}"));
        if !form.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body(Bytes::from(form), false)).map_err(|error| error.to_string())?;
        self.client.send(request).await
    }

    /// Whether the storage of the tests has snapshots and linked clones.
    pub async fn has_snapshots(&self) -> Result<bool, String> {
        let (node, storage) = (&self.names["node"], &self.names["storage"]);
        let storages = self.ask("GET", &format!("/nodes/{node}/storage?storage={storage}"), "").await?;
        let kind = storages.data()?.pointer("/0/type").and_then(Value::as_str).map(str::to_owned);
        Ok(kind.is_some_and(|kind| ["lvmthin", "zfspool", "btrfs", "rbd"].contains(&kind.as_str())))
    }
}
