//! A node goes, with real containers on a storage that both nodes share; and a container goes to
//! another node.

use std::collections::BTreeSet;

use berth::api::Workspace;
use serde_json::json;

use super::scene::{Scene, is_running, small, vmid};
use crate::support::{
    Operator, Settings, control_plane, eventually,
    objects::*,
    proxmox::{CLOCK, Cluster, TEMPLATE, two_nodes},
};

fn host_of(workspace: &Workspace) -> String {
    workspace.status.clone().and_then(|status| status.resolved?.host).expect("it has a host")
}

/// A cluster whose containers can be made on both nodes.
async fn shared_storage() -> Cluster {
    let mut settings = two_nodes();
    let mut share = settings.storages["local-lvm"].clone();
    share.kind = berth_proxmox_simulator::settings::StorageType::Nfs;
    share.shared = true;
    settings.storages.insert("share".to_owned(), share);
    Cluster::with_containers(settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn that_goes_takes_only_its_own_workspaces_along_and_brings_them_back() {
    let cluster = shared_storage().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-nodes").await;
    let backends = json!([cluster.backend(cluster.port())]);
    let operator = Operator::start(Settings::new(plane.kubeconfig(), &namespace.name, backends)).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    for name in ["here", "there", "deleted"] {
        // What is promised on pve1 is more, so whatever may choose goes to pve2.
        let (node, memory) = if name == "here" { ("pve1", "1Gi") } else { ("pve2", "256Mi") };
        let mut spec = json!({"resources": {"memory": memory}});
        spec["backend"] = json!({"proxmox": {"node": node}});
        workspace(&namespace, name, spec).await;
    }
    let here = ready_among_many(&namespace, "here").await;
    let there = ready_among_many(&namespace, "there").await;
    let deleted = ready_among_many(&namespace, "deleted").await;
    assert_eq!([&here, &there, &deleted].map(host_of), ["pve1", "pve2", "pve2"]);

    cluster.reach("pve2", false);
    let lost = broken(&namespace, "there", "BackendUnreachable").await;
    assert_eq!(phase_of(&lost), Some("Degraded"), "{}", describe(&lost));
    for type_ in ["Ready", "BackendReady"] {
        let said = condition(&lost, type_);
        assert!(said.contains("pve2"), "{said}");
    }
    assert_eq!(lost.status.clone().unwrap().container, there.status.clone().unwrap().container);
    delete(&namespace, "deleted").await;
    // It was Degraded for the same reason before.
    let waiting = until(&namespace, "deleted", "waiting for its node", |found| {
        phase_of(found) == Some("Terminating") && condition(found, "Ready").contains("BackendUnreachable")
    })
    .await;
    assert!(condition(&waiting, "Ready").contains("pve2"), "{}", describe(&waiting));

    // Both would have gone to the node with more free memory.
    for name in ["new", "newer"] {
        workspace(&namespace, name, small()).await;
    }
    for name in ["new", "newer"] {
        assert_eq!(host_of(&ready_among_many(&namespace, name).await), "pve1");
    }
    let mut pinned = small();
    pinned["backend"] = json!({"proxmox": {"node": "pve2"}});
    workspace(&namespace, "pinned", pinned).await;
    let refused = broken(&namespace, "pinned", "BackendUnreachable").await;
    assert!(condition(&refused, "Ready").contains("pve2"), "{}", describe(&refused));
    let undisturbed = namespace.api::<Workspace>().get("here").await.unwrap();
    assert_eq!(undisturbed.status, here.status);
    assert!(namespace.api::<Workspace>().get_opt("deleted").await.unwrap().is_some());

    cluster.reach("pve2", true);
    let back = ready_among_many(&namespace, "there").await;
    assert_eq!((id_of(&back), vmid(&back)), (id_of(&there), vmid(&there)));
    assert_eq!(back.status.unwrap().container, there.status.unwrap().container);
    gone(&namespace, "deleted").await;
    assert_eq!(host_of(&ready_among_many(&namespace, "pinned").await), "pve2");

    let mut expected = BTreeSet::new();
    for name in ["here", "there", "new", "newer", "pinned"] {
        expected.extend(vmid(&namespace.api::<Workspace>().get(name).await.unwrap()));
    }
    let made = cluster.of_instance(operator.instance()).await;
    assert_eq!(made.into_keys().collect::<BTreeSet<_>>(), expected);
    assert_eq!(cluster.clones(), 6);
    for name in ["here", "there", "new", "newer", "pinned"] {
        delete(&namespace, name).await;
    }
    for name in ["here", "there", "new", "newer", "pinned"] {
        gone(&namespace, name).await;
    }
    assert!(cluster.of_instance(operator.instance()).await.is_empty());
    drop(operator);
    namespace.delete().await;
}

/// The operator has looked at the cluster before the move, and does not for a while after it.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_container_was_moved_to_it_is_still_the_workspaces() {
    let mut scene = Scene::with(CLOCK, |pve| pve["pollInterval"] = json!("10m")).await;
    workspace(&scene.namespace, "one", small()).await;
    let moved = scene.running("one").await;
    scene.operator.kill().await;
    scene.cluster.simulated.faults.forget();
    scene.operator.restart().await;
    let reads = |path: &str| {
        scene.cluster.recorded().iter().filter(|call| call.path == path && call.status == 200).count()
    };
    let config = |node: &str| format!("/nodes/{node}/lxc/{moved}/config");
    eventually(PATIENCE, "it is looked at where it is", || async {
        let looks = [reads("/cluster/resources"), reads(&config("pve1"))];
        if looks.iter().all(|looks| *looks > 0) { Ok(()) } else { Err(looks) }
    })
    .await;
    scene.cluster.simulated.state().guests.get_mut(&moved).unwrap().node = "pve2".to_owned();
    eventually(PATIENCE, "it is looked at on its new node", || async {
        if reads(&config("pve2")) >= 2 { Ok(()) } else { Err(scene.operator.log()) }
    })
    .await;
    let found = until(&scene.namespace, "one", "running", is_running).await;
    assert_eq!((vmid(&found), found.status.unwrap().incarnation), (Some(moved), Some(1)));
    scene.has_one_container("one").await;
    scene.remove("one").await;
    assert_eq!(scene.cluster.text(moved), None);
    scene.close().await;
}
