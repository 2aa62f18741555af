//! The device for VPNs, which no token can give; and the operator's key, which no clone gets.

use serde_json::{Value, json};

use super::{least, on_the_shared_cluster, remove, vmid_of};
use crate::support::{
    Namespace,
    objects::*,
    proxmox::{Base, Cluster, TEMPLATE},
};

const LINES: &str = "lxc.cgroup2.devices.allow: c 10:200 rwm\n\
    lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file\n";
const SNAPSHOT: &str = "\n[before]\narch: amd64\nmemory: 128\n";

fn with_host_ssh(cluster: &Cluster) -> Value {
    cluster.backend_with_host_ssh(cluster.port())
}

fn without(cluster: &Cluster) -> Value {
    cluster.backend(cluster.port())
}

async fn template_with_tun(namespace: &Namespace, vmid: u32) {
    template_with(namespace, "base", json!({"proxmox": {"vmid": vmid, "tun": true}})).await;
}

/// How often the lines stand in a container's file, in front of its snapshots and behind.
fn lines(cluster: &Cluster, vmid: u32) -> (usize, usize) {
    let text = cluster.text(vmid).unwrap();
    let (own, snapshots) = text.split_once("\n[").unwrap_or((&text, ""));
    let count = |text: &str| {
        let found = LINES.lines().map(|line| text.lines().filter(|other| *other == line).count());
        let found: Vec<usize> = found.collect();
        assert_eq!(found[0], found[1], "{text}");
        found[0]
    };
    (count(own), count(snapshots))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_gets_the_device_once_and_before_its_first_start() {
    let (cluster, mut operator, namespace) = on_the_shared_cluster("pve-tun", with_host_ssh).await;
    template_with_tun(&namespace, TEMPLATE).await;
    let creating = moment(&namespace, "one", |found| step_of(found) == Some("CreatingContainer")).await;
    let starting = moment(&namespace, "one", |found| step_of(found) == Some("StartingContainer")).await;
    workspace(&namespace, "one", least(json!({}))).await;
    creating.await;
    operator.kill().await;
    operator.restart().await;
    starting.await;
    let vmid = vmid_of(&until(&namespace, "one", "there", |found| found.status.is_some()).await);
    assert_eq!(lines(cluster, vmid), (1, 0), "before it starts");
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "TunConfigured"), "True DevicePresent: ");
    operator.kill().await;
    operator.restart().await;
    patch(&namespace, "one", json!({"spec": {"restartNonce": "again"}})).await;
    until(&namespace, "one", "started again", |found| {
        found.status.clone().unwrap_or_default().observed_restart_nonce.is_some()
            && condition(found, "Ready").starts_with("True")
    })
    .await;
    assert_eq!(lines(cluster, vmid), (1, 0));
    let notes = cluster.configuration(vmid).await.unwrap().description;
    assert!(!notes.contains("lxc."), "the lines are no notes: {notes}");
    assert_eq!(cluster.times("POST", vmid, "status/start"), 2);
    remove(&namespace, "one").await;
    namespace.delete().await;
}

#[rstest::rstest]
#[case::lines_of_the_template(LINES, (1, 0))]
#[case::an_entry_of_the_template("dev0: /dev/net/tun\n", (0, 0))]
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_inherited_needs_nobody_on_the_node(
    #[case] of_the_template: &str,
    #[case] expected: (usize, usize),
) {
    let (cluster, _operator, namespace) = on_the_shared_cluster("pve-tun", without).await;
    let base = cluster.vmid();
    cluster.make_template(base, &Base { lines: of_the_template, ..Base::default() }).await;
    template_with_tun(&namespace, base).await;
    workspace(&namespace, "one", least(json!({}))).await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "TunConfigured"), "True DevicePresent: ");
    assert_eq!(lines(cluster, vmid_of(&made)), expected);
    remove(&namespace, "one").await;
    cluster.destroy(base).await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_to_give_it_nothing_is_made_until_the_template_has_it() {
    let (cluster, operator, namespace) = on_the_shared_cluster("pve-tun", without).await;
    let base = cluster.vmid();
    cluster.make_template(base, &Base::default()).await;
    template_with_tun(&namespace, base).await;
    workspace(&namespace, "one", least(json!({}))).await;
    let refused = broken(&namespace, "one", "HostSshNotConfigured").await;
    let why = condition(&refused, "TunConfigured");
    assert!(why.starts_with("False HostSshNotConfigured: "), "{}", describe(&refused));
    for words in [&format!("template {base} has no /dev/net/tun"), "--dev0 /dev/net/tun", "hostSsh"] {
        assert!(why.contains(words), "{why}");
    }
    assert!(cluster.of_instance(operator.instance()).await.is_empty());
    cluster.add_lines(base, "dev0: /dev/net/tun\n").await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "TunConfigured"), "True DevicePresent: ");
    remove(&namespace, "one").await;
    cluster.destroy(base).await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_runs_gets_it_with_one_restart_and_no_snapshot_of_it_does() {
    let (cluster, _operator, namespace) = on_the_shared_cluster("pve-tun", with_host_ssh).await;
    template_with_tun(&namespace, TEMPLATE).await;
    let vmid = cluster.vmid();
    let notes = format!("berth-adopt: {}/one", namespace.name);
    cluster.make(vmid, &Base { notes: &notes, lines: SNAPSHOT, ..Base::default() }).await;
    cluster.boot(vmid).await;
    let adopted = json!({"backend": {"proxmox": {"vmid": vmid, "adoptExisting": true}}});
    workspace(&namespace, "one", least(adopted)).await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "TunConfigured"), "True DevicePresent: ");
    assert_eq!(lines(cluster, vmid), (1, 0));
    assert!(cluster.text(vmid).unwrap().ends_with(SNAPSHOT), "{}", cluster.text(vmid).unwrap());
    let [stops, starts] = ["status/shutdown", "status/start"];
    assert_eq!((cluster.times("POST", vmid, stops), cluster.times("POST", vmid, starts)), (1, 2));
    remove(&namespace, "one").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_without_the_operators_key_gets_it_through_its_node() {
    let (cluster, _operator, namespace) = on_the_shared_cluster("pve-key", with_host_ssh).await;
    cluster.expect_pct();
    let base = cluster.vmid();
    cluster.make_template(base, &Base { key: false, ..Base::default() }).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": base}})).await;
    workspace(&namespace, "one", least(json!({}))).await;
    let made = ready(&namespace, "one").await;
    let keys = "stat -c %a /root/.ssh/authorized_keys; grep -c ssh-ed25519 /root/.ssh/authorized_keys";
    assert_eq!(cluster.exec(vmid_of(&made), "root", keys), "600\n1");
    remove(&namespace, "one").await;
    cluster.destroy(base).await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_without_the_operators_key_says_so_where_nobody_gets_onto_the_node() {
    let (cluster, _operator, namespace) = on_the_shared_cluster("pve-key", without).await;
    let base = cluster.vmid();
    cluster.make_template(base, &Base { key: false, ..Base::default() }).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": base}})).await;
    workspace(&namespace, "one", least(json!({}))).await;
    let refused = broken(&namespace, "one", "SshAuthFailed").await;
    let why = condition(&refused, "Ready");
    assert!(why.contains("its template lacks the operator's key") && why.contains("hostSsh"), "{why}");
    remove(&namespace, "one").await;
    cluster.destroy(base).await;
    namespace.delete().await;
}
