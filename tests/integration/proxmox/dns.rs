//! Name resolution, which a node would write anew at every start.

use serde_json::{Value, json};

use super::{least, on_the_shared_cluster, remove, vmid_of};
use crate::support::{
    objects::*,
    proxmox::{Cluster, TEMPLATE},
};

const FILE: &str = "cat /etc/resolv.conf";
const STATIC: &str = "nameserver 9.9.9.9\nnameserver 1.1.1.1";
const TAILSCALE: &str = "nameserver 100.100.100.100\nnameserver 9.9.9.9\nnameserver 1.1.1.1";
/// By this a file is known that the node did not write.
const MINE: &str = "# of this workspace";

fn with_dns(mode: Option<&str>) -> Value {
    let mut dns = json!({"servers": ["9.9.9.9", "1.1.1.1"]});
    if let Some(mode) = mode {
        dns["mode"] = json!(mode);
    }
    least(json!({"network": {"dns": dns}}))
}

/// Whether the node leaves the file alone.
fn is_kept(cluster: &Cluster, vmid: u32) -> bool {
    cluster.exec(vmid, "root", "test -f /etc/.pve-ignore.resolv.conf && echo kept || true") == "kept"
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_outlives_a_start_that_the_operator_does_not_see() {
    let (cluster, mut operator, namespace) =
        on_the_shared_cluster("pve-dns", |cluster| cluster.backend(cluster.port())).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    let modes = [("absent", None), ("host", Some("Host")), ("tailscale", Some("Tailscale"))];
    for (name, mode) in modes {
        workspace(&namespace, name, with_dns(mode)).await;
    }
    let kept_out = |found: &berth::api::Workspace| condition(found, "DNSProtected");
    let mut vmids = Vec::new();
    for (name, mode) in modes {
        let made = ready(&namespace, name).await;
        let vmid = vmid_of(&made);
        // Docker lets no container make a file immutable; nor does an unprivileged one on a node.
        let expected = if mode == Some("Host") { "" } else { "True HostKeptOut: " };
        assert!(kept_out(&made).starts_with(expected), "{}", describe(&made));
        assert_eq!(kept_out(&made).is_empty(), expected.is_empty(), "{}", describe(&made));
        assert_eq!(is_kept(cluster, vmid), mode != Some("Host"));
        vmids.push(vmid);
    }
    let [of_static, of_host, of_tailscale] = vmids[..] else { panic!("{vmids:?}") };
    assert_eq!(cluster.exec(of_static, "root", FILE), STATIC);
    assert_eq!(cluster.exec(of_tailscale, "root", FILE), TAILSCALE);
    let of_the_node = cluster.exec(of_host, "root", FILE);
    assert!(!of_the_node.is_empty() && !of_the_node.contains("9.9.9.9"), "{of_the_node}");

    operator.kill().await;
    for vmid in &vmids {
        cluster.exec(*vmid, "root", &format!("echo '{MINE}' >>/etc/resolv.conf"));
        cluster.reboot(*vmid).await;
    }
    let after = |vmid: u32| cluster.exec(vmid, "root", FILE);
    assert_eq!(after(of_static), format!("{STATIC}\n{MINE}"));
    assert_eq!(after(of_tailscale), format!("{TAILSCALE}\n{MINE}"));
    assert_eq!(after(of_host), of_the_node, "the node has written it");

    operator.restart().await;
    for ((name, _), expected) in modes.iter().zip([STATIC, &of_the_node, TAILSCALE]) {
        let vmid = vmid_of(&until(&namespace, name, "there", |found| found.status.is_some()).await);
        crate::support::eventually(PATIENCE, "it is set up again", || async {
            let found = cluster.exec(vmid, "root", FILE);
            if found == expected { Ok(()) } else { Err(found) }
        })
        .await;
    }

    // The node writes it again once it is let in, from the next start on.
    let change = json!({"spec": {"network": {"dns": {"mode": "Host"}}, "restartNonce": "host"}});
    patch(&namespace, "absent", change).await;
    until(&namespace, "absent", "left to the node", |found| {
        condition(found, "Ready").starts_with("True") && kept_out(found).is_empty()
    })
    .await;
    assert!(!is_kept(cluster, of_static));
    for (name, _) in modes {
        remove(&namespace, name).await;
    }
    namespace.delete().await;
}
