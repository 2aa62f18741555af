use std::{net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use berth_proxmox_simulator::{
    Options, Simulator, access::roles, clock::Clock, containers::memory::MemoryContainers, settings::Settings,
};
use rstest::rstest;

use super::*;
use crate::backend::proxmox::client::{CreateRequest, NodeName, TaskState, VmId};

/// A cluster, and the operator's configuration for it.
struct World {
    simulator: Simulator,
    folder: tempfile::TempDir,
    config: ProxmoxBackend,
}

impl World {
    /// A cluster whose token has all privileges of `PVEAdmin` but one.
    async fn without(privilege: &str) -> Self {
        let mut settings = Settings::two_nodes("root");
        let mut role = roles::built_in().remove("PVEAdmin").unwrap();
        role.remove(privilege);
        settings.roles.insert("Test".into(), role);
        settings.add_token("berth@pve", "operator", "secret", "Test", "/");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            settings,
            clock: Clock { work: 0.001, patience: 1.0 },
            listen: any,
            control: any,
            names: vec!["127.0.0.1".into()],
        };
        let containers = Arc::new(MemoryContainers::default());
        let simulator = Simulator::start(options, containers).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        file("token", "secret\n");
        file("ca.pem", &simulator.certificate.pem);
        let key = folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(key).status();
        assert!(made.unwrap().success());
        let config = config(simulator.address, folder.path());
        Self { simulator, folder, config }
    }

    async fn new() -> Self {
        Self::without("nothing").await
    }

    fn change(&mut self, more: &str) {
        let text = text(self.simulator.address, self.folder.path());
        self.config = serde_yaml::from_str(&format!("{text}{more}")).unwrap();
    }

    /// The lines that the check prints.
    async fn lines(&self, templates: &[u32]) -> Vec<String> {
        check(&self.config, templates).await.unwrap().iter().map(ToString::to_string).collect()
    }

    /// The subjects of what is missing.
    async fn missing(&self, templates: &[u32]) -> Vec<String> {
        let findings = check(&self.config, templates).await.unwrap();
        let missing = findings.into_iter().filter(|finding| finding.verdict == Verdict::Missing);
        missing.map(|finding| finding.subject).collect()
    }

    /// Makes a container on pve1.
    async fn container(&self, number: u32) {
        let client = Client::new(&settings::connection(&self.config).unwrap()).unwrap();
        let node: NodeName = "pve1".parse().unwrap();
        let request = CreateRequest {
            vmid: VmId::new(number).unwrap(),
            archive: "local:vztmpl/debian-12-sysvinit_12.7-1_amd64.tar.zst".parse().unwrap(),
            storage: "local-lvm".parse().unwrap(),
            disk_gib: 1,
            unprivileged: true,
            ssh_public_keys: None,
            password: None,
            pool: None,
            configuration: crate::backend::proxmox::client::Change::default(),
        };
        let upid = client.create_container(&node, &request).await.unwrap();
        let state = client.wait_for_task(&upid, Duration::from_secs(20)).await.unwrap();
        assert!(matches!(state, TaskState::Done { .. }), "{state:?}");
    }
}

fn text(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "endpoints: ['https://{address}']\ntoken: {{id: 'berth@pve!operator', secretFile: {folder}/token}}\n\
         ssh: {{keyFile: {folder}/key, connectTimeout: 2s}}\ntls: {{caFile: {folder}/ca.pem}}\n"
    )
}

fn config(address: SocketAddr, folder: &Path) -> ProxmoxBackend {
    serde_yaml::from_str(&text(address, folder)).unwrap()
}

#[tokio::test]
async fn a_cluster_that_has_everything() {
    let mut world = World::new().await;
    world.change("storage: local-lvm\nnodes: [pve1]\n");
    let lines = world.lines(&[]).await;
    let port = world.simulator.address.port();
    for expected in [
        format!("127.0.0.1:{port}: reachable, Proxmox VE 9.2.11"),
        "token berth@pve!operator: accepted".into(),
        "node pve1: online, 16 CPUs, 65536 MiB of memory".into(),
        "privileges on /storage/local-lvm: Datastore.Audit, Datastore.AllocateSpace".into(),
        "privileges on /storage/local: Datastore.Audit, Datastore.AllocateTemplate".into(),
        "privileges on /sdn/zones/localnetwork/vmbr0: SDN.Use".into(),
        "privileges on /nodes/pve1: Sys.Audit".into(),
        "storage local-lvm on pve1: lvmthin, 500 GiB free".into(),
        "bridge vmbr0 on pve1: there".into(),
        "vmids.workspaces 1000 to 1999: 1000 of 1000 are free".into(),
    ] {
        assert!(lines.contains(&expected), "{expected}\n{lines:#?}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("SSH key for the containers: ssh-ed25519 ")),
        "{lines:#?}"
    );
    assert_eq!(world.missing(&[]).await, Vec::<String>::new());
}

#[rstest]
#[case("VM.PowerMgmt", "/vms/1000", "Berth")]
#[case("VM.Clone", "/vms/500", "Berth")]
#[case("VM.Config.Options", "/vms/1999", "Berth")]
#[case("Datastore.AllocateSpace", "/storage/local-lvm", "BerthStorage")]
#[case("SDN.Use", "/sdn/zones/localnetwork/vmbr0", "BerthNetwork")]
#[tokio::test]
async fn a_privilege_that_is_lacking_is_named_with_its_path(
    #[case] privilege: &str,
    #[case] path: &str,
    #[case] role: &str,
) {
    let mut world = World::without(privilege).await;
    world.change("storage: local-lvm\n");
    let lines = world.lines(&[]).await;
    let start = format!("privileges on {path}: NOT granted: {privilege}\n");
    assert!(lines.iter().any(|line| line.starts_with(&start)), "{start}\n{lines:#?}");
    let commands =
        [format!("pveum role add {role} "), format!("--tokens 'berth@pve!operator' --roles {role}")];
    let mended = lines.iter().any(|line| commands.iter().all(|command| line.contains(command)));
    assert!(mended, "{commands:?}\n{lines:#?}");
}

#[tokio::test]
async fn the_load_of_nodes_can_be_done_without() {
    let world = World::without("Sys.Audit").await;
    let lines = world.lines(&[]).await;
    let start = "privileges on /nodes/pve2: WARNING: not granted: Sys.Audit\n";
    assert!(lines.iter().any(|line| line.starts_with(start)), "{lines:#?}");
    assert_eq!(world.missing(&[]).await, Vec::<String>::new());
}

#[tokio::test]
async fn downloads_of_os_templates_can_be_done_without() {
    let world = World::without("Datastore.AllocateTemplate").await;
    let lines = world.lines(&[]).await;
    let start = "privileges on /storage/local: WARNING: not granted: Datastore.AllocateTemplate\n";
    let line = lines.iter().find(|line| line.starts_with(start));
    assert!(line.is_some_and(|line| line.contains("--roles BerthArchives")), "{lines:#?}");
    assert_eq!(world.missing(&[]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_token_is_not_accepted_and_nothing_else_is_asked() {
    let world = World::new().await;
    std::fs::write(world.folder.path().join("token"), "wrong").unwrap();
    let lines = world.lines(&[]).await;
    let start = "token berth@pve!operator: NOT accepted: Authentication failed!\n    pveum user token list";
    assert!(lines.iter().any(|line| line.starts_with(start)), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("node ")), "{lines:#?}");
}

#[tokio::test]
async fn each_endpoint_is_asked_and_its_certificate_checked() {
    let mut world = World::new().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.config.endpoints.push(format!("https://{nobody}").parse().unwrap());
    let subject = format!("127.0.0.1:{}", nobody.port());
    assert_eq!(world.missing(&[]).await, [subject]);

    world.config.endpoints.pop();
    world.config.tls.ca_file = None;
    world.config.tls.fingerprints = vec![["AB"; 32].join(":")];
    let lines = world.lines(&[]).await;
    let bad = lines.iter().find(|line| line.contains("NOT reachable")).unwrap();
    assert!(bad.contains(&world.simulator.certificate.fingerprint) && bad.contains("openssl x509"), "{bad}");
}

#[tokio::test]
async fn what_the_configuration_names_has_to_be_there() {
    let mut world = World::new().await;
    world.change(
        "nodes: [pve1, pve7]\nstorage: nowhere\npool: people\nbridge: vmbr7\ntenantBounds: {storages: [local]}\n",
    );
    let missing = world.missing(&[9000]).await;
    let expected =
        ["node pve7", "template 9000", "pool people", "storage nowhere on pve1", "bridge vmbr7 on pve1"];
    assert_eq!(missing, expected);
}

#[tokio::test]
async fn a_template_has_to_be_one() {
    let world = World::new().await;
    world.container(9000).await;
    let lines = world.lines(&[9000]).await;
    let words = "template 9000: NOT a template: CT 9000 on pve1 is a container\n    pct template 9000";
    assert!(lines.iter().any(|line| line == words), "{lines:#?}");
    let storage = "storage local-lvm on pve1: lvmthin, 499 GiB free";
    assert!(lines.iter().any(|line| line == storage), "the template's storage is needed: {lines:#?}");
}

#[tokio::test]
async fn a_node_without_its_shell_is_named() {
    let mut world = World::new().await;
    let folder = world.folder.path().display().to_string();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(world.folder.path().join("known_hosts"), "").unwrap();
    world.change(&format!(
        "nodes: [pve1]\nhostSsh: {{keyFile: {folder}/key, knownHostsFile: {folder}/known_hosts, addresses: {{pve1: '{nobody}'}}}}\n"
    ));
    assert_eq!(world.missing(&[]).await, ["SSH to node pve1"]);
}
