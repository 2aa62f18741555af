//! What real containers of a simulated cluster need: images, and somebody who clears up.

use std::{
    collections::BTreeMap,
    process::{Child, Command},
    sync::Arc,
};

use berth_proxmox_simulator::containers::{
    Containers,
    docker::{self, DockerContainers},
};

use crate::support::{
    docker::{docker, run},
    word,
};

/// OS template of Debian 12 with systemd, made by hack/proxmox-images.sh.
const OS_IMAGE: &str = "berth-demo/debian-12-standard:bookworm";
/// The same with git, made once on a machine.
const GIT_IMAGE: &str = "berth-demo/debian-12-git:bookworm";
/// Label of everything of a simulated cluster in Docker.
const LABEL: &str = "dev.berth.proxmox-simulator.cluster";

/// The containers of a cluster of this name. Must be called inside the runtime that it lives in.
pub(super) fn containers(name: String) -> Arc<dyn Containers> {
    let templates = BTreeMap::from([
        ("debian-12-standard".to_owned(), GIT_IMAGE.to_owned()),
        ("debian-12-openrc".to_owned(), "berth-demo/debian-12-openrc:bookworm".to_owned()),
        ("debian-12-sysvinit".to_owned(), "berth-demo/debian-12-sysvinit:bookworm".to_owned()),
    ]);
    let settings = docker::Settings { cluster: name, templates, bridges: BTreeMap::new() };
    let daemon = bollard::Docker::connect_with_defaults().expect("no Docker");
    Arc::new(DockerContainers::new(daemon, settings))
}

/// The name of a container of a cluster.
pub(super) fn container(cluster: &str, vmid: u32) -> String {
    format!("pve-sim-{cluster}-{vmid}")
}

/// Removes the cluster's containers and networks when it is over, however it ends: its input closes
/// then.
pub(super) fn cleaner(name: &str) -> Child {
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

/// Makes the network that is a bridge of a cluster. Returns its addresses and the gateway's. Docker
/// takes fixed addresses only in a network whose own were asked for: so it is asked for those that
/// it would choose.
pub(super) fn make_bridge(cluster: &str, bridge: &str) -> (String, String) {
    let (name, label) = (format!("pve-sim-{cluster}-{bridge}"), format!("{LABEL}={cluster}"));
    let create = ["network", "create", "--label", &label];
    let format = "{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}";
    for _ in 0..10 {
        docker(&[create.as_slice(), &[&name]].concat());
        let found = docker(&["network", "inspect", "--format", format, &name]).join("");
        docker(&["network", "rm", &name]);
        let (subnet, gateway) = found.split_once(' ').expect("a network and its gateway");
        // Somebody else may have been faster.
        let asked = ["--subnet", subnet, "--gateway", gateway, &name];
        if run(&[create.as_slice(), &asked].concat()).status.success() {
            return (subnet.to_owned(), gateway.to_owned());
        }
    }
    panic!("there is no network for {name}");
}

/// Makes the image with git, once on a machine: packages come from the distribution's mirror.
pub(super) fn with_git() {
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
