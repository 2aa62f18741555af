//! From an OS template to a Template, and from that to a Workspace.

use berth::api::{Template, condition::READY};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::support::{
    Namespace, Operator, Settings, control_plane, eventually,
    objects::*,
    proxmox::{Cluster, TEMPLATE, cluster},
};

async fn operator(cluster: &Cluster, namespace: &Namespace) -> Operator {
    let plane = control_plane().await;
    let mut backend = cluster.backend(cluster.port());
    backend["proxmox"]["caBundleFile"] = json!(cluster.large_bundle());
    Operator::start(Settings::new(plane.kubeconfig(), &namespace.name, json!([backend]))).await
}

fn said(template: &Template) -> String {
    let status = template.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
    let ready = ready.map(|ready| format!("{} {}", ready.reason, ready.message)).unwrap_or_default();
    format!("{} {ready}", status.phase.unwrap_or_default())
}

async fn template_until(namespace: &Namespace, name: &str, beginning: &str) -> Template {
    let api: Api<Template> = namespace.api();
    eventually(PATIENCE * 2, &format!("Template {name} is {beginning}"), || async {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        if said(&found).starts_with(beginning) { Ok(found) } else { Err(said(&found)) }
    })
    .await
}

async fn is_built(os_template: &str, init: &str) {
    let cluster = cluster().await;
    let namespace = control_plane().await.namespace("pve-template").await;
    let operator = operator(cluster, &namespace).await;

    let spec = json!({"proxmox": {"osTemplate": os_template, "packages": ["jq"]}});
    template_with(&namespace, "built", spec).await;
    let built = template_until(&namespace, "built", "Ready").await;
    let made = built.status.unwrap().proxmox.unwrap();
    assert_eq!(made.state.as_deref(), Some("Converted"));
    assert!(made.vmid.is_some() && made.node.is_some() && made.storage.is_some(), "{made:?}");

    // What its clones are given, and what each of them has of its own.
    let spec = json!({"templateRef": {"name": "built"}, "resources": {"memory": "256Mi"}});
    for name in ["one", "two"] {
        workspace(&namespace, name, spec.clone()).await;
    }
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let found = ready(&namespace, name).await;
        let vmid = found.status.clone().unwrap().resolved.unwrap().vmid.unwrap();
        let inside = "cat /proc/1/comm; command -v jq; id -un 1000; stat -c %F /etc/.pve-ignore.resolv.conf; getent shadow root | cut -d: -f2";
        assert_eq!(
            cluster.exec(vmid, "root", inside),
            format!("{init}\n/usr/bin/jq\ndev\nregular empty file\n*")
        );
        keys.push(cluster.exec(vmid, "root", "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2"));
        assert_eq!(
            cluster.exec(vmid, "root", "ls -A /root/.bash_history /var/lib/apt/lists 2>/dev/null | wc -l"),
            "1"
        );
    }
    assert_ne!(keys[0], keys[1], "two clones have the same SSH host key");

    for name in ["one", "two"] {
        delete(&namespace, name).await;
        gone(&namespace, name).await;
    }
    let api: Api<Template> = namespace.api();
    api.delete("built", &DeleteParams::default()).await.unwrap();
    eventually(PATIENCE, "the Template is gone", || async {
        match api.get_opt("built").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(cluster.of_instance(operator.instance()).await.is_empty());
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_built_of_a_distribution_with_systemd() {
    is_built("debian-12-standard", "systemd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_built_of_a_distribution_without_systemd() {
    is_built("debian-12-sysvinit", "init").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_built_of_a_distribution_with_openrc() {
    is_built("debian-12-openrc", "init").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_there_already_is_looked_for() {
    let cluster = cluster().await;
    let namespace = control_plane().await.namespace("pve-template").await;
    let _operator = operator(cluster, &namespace).await;
    template_with(&namespace, "there", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    template_with(&namespace, "missing", json!({"proxmox": {"vmid": 999}})).await;
    let found = template_until(&namespace, "there", "Ready").await;
    let made = found.status.unwrap().proxmox.unwrap();
    assert_eq!((made.node.as_deref(), made.storage.as_deref()), (Some("pve1"), Some("local-lvm")));
    template_until(&namespace, "missing", "Pending TemplateImageMissing").await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_does_not_exist_ends_the_building_and_leaves_nothing() {
    let cluster = cluster().await;
    let namespace = control_plane().await.namespace("pve-template").await;
    let operator = operator(cluster, &namespace).await;
    let spec = json!({"proxmox": {"osTemplate": "debian-12-standard", "packages": ["no-such-package"]}});
    template_with(&namespace, "built", spec).await;
    template_until(&namespace, "built", "Failed PackageNotFound E: Unable to locate package no-such-package")
        .await;
    eventually(PATIENCE, "the half-made container is removed", || async {
        let left = cluster.of_instance(operator.instance()).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaning_that_was_cut_off_after_the_host_keys_were_gone_is_done_again() {
    let cluster = cluster().await;
    let namespace = control_plane().await.namespace("pve-template").await;
    let mut operator = operator(cluster, &namespace).await;
    let spec = json!({"proxmox": {"osTemplate": "debian-12-standard", "staging": true}});
    template_with(&namespace, "built", spec).await;
    let staged = template_until(&namespace, "built", "Staging").await;
    let staged = staged.status.unwrap();
    assert!(staged.staging_ip.is_some());
    let vmid = staged.proxmox.and_then(|proxmox| proxmox.vmid).unwrap();
    operator.kill().await;
    cluster.exec(vmid, "root", "rm /etc/ssh/ssh_host_*; echo mine >/etc/mine");
    let change = Patch::Merge(json!({"spec": {"proxmox": {"staging": false}}}));
    let api: Api<Template> = namespace.api();
    api.patch("built", &PatchParams::default(), &change).await.unwrap();
    operator.restart().await;
    template_until(&namespace, "built", "Ready").await;
    let spec = json!({"templateRef": {"name": "built"}, "resources": {"memory": "256Mi"}});
    workspace(&namespace, "one", spec).await;
    let vmid = ready(&namespace, "one").await.status.unwrap().resolved.unwrap().vmid.unwrap();
    assert_eq!(cluster.exec(vmid, "root", "cat /etc/mine"), "mine");
    drop(operator);
    namespace.delete().await;
}
