//! The backend against a simulated cluster, whose containers are only remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    process::Command,
    sync::Arc,
    time::Duration,
};

use berth_proxmox_simulator::{
    Options, Simulator,
    access::roles,
    clock::Clock,
    cluster::state::Guest as Machine,
    containers::memory::MemoryContainers,
    faults::{Effect, Fault},
    settings::{Settings, Storage, StorageType},
};

use super::*;
use crate::backend::{Incarnation, Infrastructure, Known, RunState};

const OS_TEMPLATE: &str = "local:vztmpl/debian-12-sysvinit_12.7-1_amd64.tar.zst";
const TEMPLATE: u32 = 9000;

struct World {
    simulator: Simulator,
    backend: Arc<dyn Backend>,
    maker: client::Client,
    node: client::NodeName,
    _folder: tempfile::TempDir,
}

impl World {
    /// A cluster with a template on `storage`, and a backend whose token has the rights of an
    /// administrator on these paths.
    async fn new(rights: &[&str], more: &str, storage: &str) -> Self {
        let mut settings = Settings::two_nodes("root");
        let shared = Storage {
            kind: StorageType::Nfs,
            shared: true,
            content: BTreeSet::from(["rootdir".to_owned()]),
            ..settings.storages["local"].clone()
        };
        settings.storages.insert("share".into(), shared);
        settings.pools.push("people".into());
        settings.roles.insert("Berth".into(), roles::built_in().remove("PVEAdmin").unwrap());
        settings.add_token("maker@pve", "all", "secret", "Berth", "/");
        for path in rights {
            settings.add_token("berth@pve", "operator", "secret", "Berth", path);
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            settings,
            clock: Clock { work: 0.05, patience: 1.0 },
            listen: any,
            control: any,
            names: vec!["127.0.0.1".into()],
        };
        let simulator = Simulator::start(options, Arc::new(MemoryContainers::default())).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        std::fs::write(folder.path().join("token"), "secret").unwrap();
        std::fs::write(folder.path().join("ca.pem"), &simulator.certificate.pem).unwrap();
        let key = folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(key).status();
        assert!(made.unwrap().success());
        let config = |token: &str| -> config::ProxmoxBackend {
            let text = format!(
                "endpoints: ['https://{}']\ntoken: {{id: '{token}', secretFile: {path}/token}}\n\
                 ssh: {{keyFile: {path}/key}}\ntls: {{caFile: {path}/ca.pem}}\npollInterval: 100ms\n{more}",
                simulator.address
            );
            serde_yaml::from_str(&text).unwrap()
        };
        let maker = settings::connection(&config("maker@pve!all")).unwrap();
        let maker = client::Client::new(&maker).unwrap();
        let instance = InstanceId("test".into());
        let backend = ProxmoxBackend::connect(&config("berth@pve!operator"), instance, None).unwrap();
        let world = Self { simulator, backend, maker, node: "pve1".parse().unwrap(), _folder: folder };
        world.make_template(storage).await;
        world
    }

    async fn make_template(&self, storage: &str) {
        let vmid = client::VmId::new(TEMPLATE).unwrap();
        let request = client::CreateRequest {
            vmid,
            archive: OS_TEMPLATE.parse().unwrap(),
            storage: storage.parse().unwrap(),
            disk_gib: 1,
            unprivileged: true,
            ssh_public_keys: None,
            password: None,
            pool: Some("people".parse().unwrap()),
            configuration: client::Change::default(),
        };
        let upid = self.maker.create_container(&self.node, &request).await.unwrap();
        let ended = self.maker.wait_for_task(&upid, Duration::from_secs(20)).await.unwrap();
        assert!(matches!(ended, client::TaskState::Done { .. }), "{ended:?}");
        self.maker.make_template(&self.node, vmid).await.unwrap();
        let is_template = async || {
            let found = self.maker.configuration(&self.node, vmid, client::View::Current).await;
            found.unwrap().template
        };
        eventually("a template", async || is_template().await.then_some(())).await;
    }

    fn answer_lost_and_begun_after(&self, path: &str, milliseconds: u64) {
        let effect = Effect::Late { milliseconds };
        let fault = Fault { method: Some("POST".into()), path: path.into(), times: 1, effect };
        self.simulator.cluster.faults.plan(fault);
    }

    /// How often something was asked for, whatever the answer was.
    fn asked(&self, end: &str) -> usize {
        let calls = self.simulator.cluster.faults.recorded();
        calls.iter().filter(|call| call.method == "POST" && call.path.ends_with(end)).count()
    }

    fn vmids(&self) -> BTreeMap<u32, String> {
        let state = self.simulator.cluster.state();
        let ours = state.guests.iter().filter(|(vmid, _)| **vmid != TEMPLATE);
        ours.map(|(vmid, guest)| (*vmid, guest.node.clone())).collect()
    }

    /// Makes a container as the controller does: again from its beginning until it is finished.
    async fn create(&self, host: &str, image: &str) -> BodyRef {
        let (mut body, spec) = (body(host), spec(image));
        let progress = channel::Sender::new(String::new());
        eventually("made", async || {
            if body.known.number.is_none() {
                body.known.number = self.backend.reserve(&body, &spec, &BTreeSet::new()).await.unwrap();
            }
            match self.backend.create(&body, &spec, &progress).await {
                Ok(()) => Some(()),
                Err(error) => {
                    assert_ne!(error.reason, Reason::NumberTaken, "{error}");
                    None
                }
            }
        })
        .await;
        body
    }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not {what} in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn body(host: &str) -> BodyRef {
    BodyRef {
        host: host.into(),
        id: BodyId::random(),
        owner: Owner { namespace: "ns".into(), name: "one".into(), uid: "u".into() },
        known: Known::default(),
    }
}

fn spec(image: &str) -> ContainerSpec {
    ContainerSpec {
        incarnation: Incarnation::FIRST,
        image: image.into(),
        user: "dev".into(),
        hostname: "one".into(),
        cpu_millis: 1000,
        memory_bytes: 256 << 20,
        pids: 100,
        dns_servers: Vec::new(),
        infrastructure: Infrastructure::default(),
    }
}

fn container(body: &BodyRef) -> ContainerRef {
    ContainerRef { body: body.clone(), incarnation: Incarnation::FIRST }
}

#[tokio::test]
async fn a_container_from_an_archive_is_waited_for_when_its_answer_was_lost() {
    let world = World::new(&["/"], "storage: local-lvm", "local-lvm").await;
    world.answer_lost_and_begun_after("/nodes/*/lxc", 0);
    let body = world.create("pve1", "os:debian-12-sysvinit").await;
    assert_eq!(world.vmids(), BTreeMap::from([(500, "pve1".into())]));
    // The template's own, and one more.
    assert_eq!(world.asked("/lxc"), 2);
    assert_eq!(world.backend.inspect(&body).await.unwrap().containers.len(), 1);
}

#[tokio::test]
async fn a_clone_for_another_node_is_found_when_its_answer_was_lost() {
    let world = World::new(&["/"], "", "share").await;
    world.answer_lost_and_begun_after("/nodes/*/lxc/*/clone", 0);
    world.create("pve2", "vmid:9000").await;
    assert_eq!(world.vmids(), BTreeMap::from([(1000, "pve2".into())]));
}

#[tokio::test]
async fn a_clone_that_begins_after_its_deletion_is_removed_too() {
    let world = World::new(&["/"], "", "local-lvm").await;
    world.answer_lost_and_begun_after("/nodes/*/lxc/*/clone", 6_000);
    let (mut body, spec) = (body("pve1"), spec("vmid:9000"));
    body.known.number = world.backend.reserve(&body, &spec, &BTreeSet::new()).await.unwrap();
    let progress = channel::Sender::new(String::new());
    assert_eq!(world.backend.create(&body, &spec, &progress).await.unwrap_err().reason, Reason::Unreachable);
    assert_eq!(world.vmids(), BTreeMap::new());
    eventually("removed", async || world.backend.remove(&body, false).await.ok()).await;
    let cloned = world.simulator.cluster.state().tasks.values().any(|task| task.upid.kind == "vzclone");
    assert!(cloned, "the clone never began");
    assert_eq!(world.vmids(), BTreeMap::new());
}

#[tokio::test]
async fn what_high_availability_manages_is_waited_for() {
    let world = World::new(&["/"], "", "local-lvm").await;
    let body = world.create("pve1", "vmid:9000").await;
    world.simulator.cluster.state().managed.insert(1000);
    let state = async || world.backend.inspect(&body).await.unwrap().containers[0].state;
    world.backend.start(&container(&body)).await.unwrap();
    assert_eq!(state().await, RunState::Running);
    world.backend.stop(&container(&body), Duration::from_secs(5)).await.unwrap();
    assert_eq!(state().await, RunState::Exited);
}

#[tokio::test]
async fn rights_on_a_pool_are_enough_for_what_is_in_it() {
    let rights = ["/pool/people", "/storage", "/sdn", "/nodes"];
    let world = World::new(&rights, "pool: people", "local-lvm").await;
    // The token does not see it, and may not use its number.
    {
        let mut state = world.simulator.cluster.state();
        let machine = Machine { qemu: true, ..state.guests[&TEMPLATE].clone() };
        state.guests.insert(1000, machine);
    }
    let body = world.create("pve1", "vmid:9000").await;
    assert_eq!(body.known.number, Some(1001));
    world.backend.start(&container(&body)).await.unwrap();
    world.backend.remove(&body, false).await.unwrap();
    assert_eq!(world.vmids().into_keys().collect::<Vec<_>>(), [1000]);
    assert!(world.backend.inspect(&body).await.unwrap().containers.is_empty());
}
