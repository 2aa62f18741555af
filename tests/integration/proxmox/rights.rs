//! A token that lacks a privilege: the status names it with its path, and the Workspace goes on when
//! it is given.

use std::collections::BTreeSet;

use berth_proxmox_simulator::access::roles::built_in;
use rstest::rstest;
use serde_json::json;

use super::scene::{is_running, settings, small};
use crate::support::{
    Operator, control_plane,
    objects::*,
    proxmox::{Acl, CLOCK, Cluster, SECRET, TEMPLATE, two_nodes},
};

const ROLE: &str = "PVEAdmin";

fn everything() -> BTreeSet<String> {
    built_in().remove(ROLE).expect("a role")
}

/// What a Workspace is refused without a privilege: when, and what for.
struct Lack {
    privilege: &'static str,
    path: &'static str,
    step: &'static str,
}

const fn lack(privilege: &'static str, path: &'static str, step: &'static str) -> Lack {
    Lack { privilege, path, step }
}

const MAKING: &str = "CreatingContainer";

#[rstest]
#[case(lack("VM.Clone", "/vms/500", MAKING))]
#[case(lack("VM.Allocate", "/vms/1000", MAKING))]
#[case(lack("Datastore.AllocateSpace", "/storage/local-lvm", MAKING))]
#[case(lack("SDN.Use", "/sdn/zones/localnetwork/vmbr0", MAKING))]
#[case(lack("VM.Config.CPU", "/vms/1000", MAKING))]
#[case(lack("VM.Config.Memory", "/vms/1000", MAKING))]
#[case(lack("VM.Config.Network", "/vms/1000", MAKING))]
#[case(lack("VM.Config.Options", "/vms/1000", MAKING))]
#[case(lack("VM.PowerMgmt", "/vms/1000", "StartingContainer"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_privilege_is_missing(#[case] lack: Lack) {
    // The template is made by somebody else, who may do everything.
    let mut cluster_settings = two_nodes();
    let (token, mut granted) = ("berth@pve!limited", everything());
    assert!(granted.remove(lack.privilege), "{} is none of the role's", lack.privilege);
    cluster_settings.roles.insert("Limited".to_owned(), granted);
    cluster_settings.add_token("berth@pve", "limited", SECRET, "Limited", "/");
    let cluster = Cluster::in_memory(cluster_settings, CLOCK).await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-rights").await;
    let mut backend = cluster.backend(cluster.port());
    backend["proxmox"]["token"]["id"] = json!(token);
    let operator = Operator::start(settings(plane.kubeconfig(), &namespace, json!([backend]))).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;

    workspace(&namespace, "one", small()).await;
    let refused = broken(&namespace, "one", "BackendPermissionDenied").await;
    let ready = condition(&refused, "Ready");
    assert!(ready.contains(&format!("{} on {}", lack.privilege, lack.path)), "{ready}");
    assert_eq!(step_of(&refused), Some(lack.step), "{}", describe(&refused));

    cluster.simulated.state().access.roles.insert("Limited".to_owned(), everything());
    until(&namespace, "one", "going on", is_running).await;
    assert_eq!(cluster.of_instance(operator.instance()).await.into_keys().collect::<Vec<_>>(), [1000]);
    assert_eq!(cluster.clones(), 1);
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert!(cluster.of_instance(operator.instance()).await.is_empty());
    drop(operator);
    namespace.delete().await;
}

/// A disk that can not grow keeps nobody from working, so only the log has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_privilege_to_grow_a_disk_is_missing() {
    let scene = super::scene::Scene::open().await;
    let mut without = everything();
    assert!(without.remove("VM.Config.Disk"));
    scene.cluster.simulated.state().access.roles.insert(ROLE.to_owned(), without);
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    let log = scene.operator.log();
    let line = log.lines().find(|line| line.contains("the disk could not be grown")).unwrap_or_default();
    assert!(line.contains("VM.Config.Disk on /vms/1000"), "{line}");
    scene.remove("one").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_privilege_to_remove_a_container_is_missing() {
    let scene = super::scene::Scene::open().await;
    workspace(&scene.namespace, "one", small()).await;
    scene.running("one").await;
    let mut without = everything();
    assert!(without.remove("VM.Allocate"));
    scene.cluster.simulated.state().access.roles.insert(ROLE.to_owned(), without);
    delete(&scene.namespace, "one").await;
    let waiting = broken(&scene.namespace, "one", "BackendPermissionDenied").await;
    let ready = condition(&waiting, "Ready");
    assert!(ready.contains("VM.Allocate on /vms/1000"), "{ready}");
    assert_eq!(phase_of(&waiting), Some("Terminating"));
    scene.cluster.simulated.state().access.roles.insert(ROLE.to_owned(), everything());
    gone(&scene.namespace, "one").await;
    assert_eq!(scene.cluster.text(1000), None);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_the_token_may_not_see() {
    let scene = super::scene::Scene::open().await;
    let hidden = |who: &str| Acl {
        path: "/vms/500".to_owned(),
        who: who.to_owned(),
        role: "NoAccess".to_owned(),
        propagate: true,
    };
    scene.cluster.simulated.state().access.acls.push(hidden("berth@pve!operator"));
    workspace(&scene.namespace, "one", small()).await;
    let refused = broken(&scene.namespace, "one", "TemplateImageMissing").await;
    let ready = condition(&refused, "Ready");
    assert!(ready.contains("VM.Audit on /vms/500"), "{ready}");
    scene.cluster.simulated.state().access.acls.retain(|acl| acl.path != "/vms/500");
    scene.running("one").await;
    scene.remove("one").await;
    scene.close().await;
}

/// The cluster does not list what the token may not see, and gives its VMID to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_vmid_of_somebody_whom_the_token_may_not_see_is_passed_over() {
    let scene = super::scene::Scene::open().await;
    for vmid in [scene.first, scene.first + 1] {
        assert!(scene.cluster.take(vmid, "Ann's", vmid == scene.first));
        let path = format!("/vms/{vmid}");
        let acl =
            Acl { path, who: "berth@pve!operator".to_owned(), role: "NoAccess".to_owned(), propagate: true };
        scene.cluster.simulated.state().access.acls.push(acl);
    }
    let before = [scene.first, scene.first + 1].map(|vmid| scene.cluster.text(vmid));
    workspace(&scene.namespace, "one", small()).await;
    assert_eq!(scene.running("one").await, scene.first + 2);
    assert_eq!([scene.first, scene.first + 1].map(|vmid| scene.cluster.text(vmid)), before);
    scene.remove("one").await;
    scene.close().await;
}
