//! Several who want the same: two operators, other clients of the cluster, and more Workspaces than
//! VMIDs.

use std::collections::BTreeSet;

use berth::api::Workspace;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use super::scene::{Scene, is_running, settings, small, vmid};
use crate::support::{
    Namespace, Operator, Settings, control_plane, eventually, git_server,
    objects::*,
    proxmox::{CLOCK, Cluster, TEMPLATE, cluster, two_nodes},
};

async fn leads(operator: &Operator) {
    eventually(PATIENCE, "it leads", || async {
        let (_, metrics) = operator.get("/metrics").await;
        if metrics.contains("\nberth_leader 1") { Ok(()) } else { Err(operator.log()) }
    })
    .await;
}

async fn vmids(namespace: &Namespace, names: &[String]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for name in names {
        let workspace = namespace.api::<Workspace>().get(name).await.unwrap();
        assert!(
            found.insert(vmid(&workspace).expect("it has a VMID")),
            "given twice: {}",
            describe(&workspace)
        );
    }
    found
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("w{number}")).collect()
}

/// How many clones to these VMIDs were begun.
fn clones_to(cluster: &Cluster, vmids: &BTreeSet<u32>) -> usize {
    let calls = cluster.recorded();
    let new = calls.iter().filter(|call| call.path.ends_with("/clone") && call.status == 200);
    let new = new.filter_map(|call| call.parameters.get("newid").cloned().flatten()?.parse::<u32>().ok());
    new.filter(|vmid| vmids.contains(vmid)).count()
}

async fn remove_all(namespace: &Namespace, names: &[String]) {
    for name in names {
        delete(namespace, name).await;
    }
    for name in names {
        gone(namespace, name).await;
    }
}

/// Two of one instance that both take themselves for the leader, as after a lease that somebody
/// deleted, or with two leases by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_of_one_instance_make_one_container() {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-two").await;
    let backends = json!([cluster.backend(cluster.port())]);
    let first = Settings::new(plane.kubeconfig(), &namespace.name, backends);
    let mut second = first.clone();
    second.config["leaderElection"]["leaseName"] = json!("another");
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    let (first, second) = tokio::join!(Operator::start(first), Operator::start(second));
    tokio::join!(leads(&first), leads(&second));

    let names = names(3);
    let mut spec = small();
    spec["repository"] = json!({"url": git_server().await.public("sample")});
    for name in &names {
        workspace(&namespace, name, spec.clone()).await;
    }
    for name in &names {
        ready_among_many(&namespace, name).await;
    }
    let given = vmids(&namespace, &names).await;
    let of_instance =
        async || cluster.of_instance(first.instance()).await.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(of_instance().await, given);
    assert_eq!(clones_to(cluster, &given), names.len(), "more than one clone for a Workspace");
    for vmid in &given {
        let removed = |call: &String| call.starts_with("DELETE");
        assert!(!cluster.changes_of(*vmid).iter().any(removed), "a container was removed and made again");
        assert_eq!(cluster.exec(*vmid, "dev", "git -C /workspace reflog | wc -l"), "1");
    }

    patch(&namespace, "w1", json!({"spec": {"operatingMode": "Suspended"}})).await;
    phase(&namespace, "w1", "Suspended").await;
    patch(&namespace, "w1", json!({"spec": {"operatingMode": "Running"}})).await;
    ready(&namespace, "w1").await;
    remove_all(&namespace, &names).await;
    assert_eq!(of_instance().await, BTreeSet::new());
    drop((first, second));
    namespace.delete().await;
}

/// Two clusters of Kubernetes whose operators were given the same VMIDs.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_with_the_same_vmids_share_them() {
    let cluster = Cluster::in_memory(two_nodes(), CLOCK).await;
    let plane = control_plane().await;
    let backends = json!([cluster.backend(cluster.port())]);
    let names = names(6);
    let mut sides = Vec::new();
    for _ in 0..2 {
        let namespace = plane.namespace("pve-shared").await;
        let settings = settings(plane.kubeconfig(), &namespace, backends.clone());
        template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
        for name in &names {
            workspace(&namespace, name, small()).await;
        }
        sides.push((settings, namespace));
    }
    let [(ours, here), (theirs, there)] = sides.try_into().ok().expect("two sides");
    let (ours, theirs) = tokio::join!(Operator::start(ours), Operator::start(theirs));
    for name in &names {
        until(&here, name, "running", is_running).await;
        until(&there, name, "running", is_running).await;
    }
    let (mine, yours) = (vmids(&here, &names).await, vmids(&there, &names).await);
    assert!(mine.is_disjoint(&yours), "{mine:?} {yours:?}");
    for (operator, given) in [(&ours, &mine), (&theirs, &yours)] {
        let made = cluster.of_instance(operator.instance()).await;
        assert_eq!(made.into_keys().collect::<BTreeSet<_>>(), *given);
    }
    assert_eq!(cluster.clones(), 2 * names.len());

    remove_all(&here, &names).await;
    let left = cluster.of_instance(theirs.instance()).await;
    assert_eq!(left.into_keys().collect::<BTreeSet<_>>(), yours, "one operator removed the other's");
    remove_all(&there, &names).await;
    assert_eq!(cluster.simulated.state().guests.keys().copied().collect::<Vec<_>>(), [TEMPLATE]);
    here.delete().await;
    there.delete().await;
}

/// Takes the VMIDs that stand in statuses and are not cloned to yet, so many of them.
async fn take_what_is_written_down(cluster: &Cluster, namespace: &Namespace, most: usize) -> BTreeSet<u32> {
    let api: Api<Workspace> = namespace.api();
    let mut taken = BTreeSet::new();
    while taken.len() < most {
        let found = eventually(PATIENCE, "a VMID is written down", || async {
            let all = api.list(&ListParams::default()).await.expect("no answer");
            let written: Vec<u32> = all.iter().filter_map(vmid).collect();
            written.iter().copied().find(|vmid| cluster.take(*vmid, "Ann's", false)).ok_or(written)
        });
        taken.insert(found.await);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workspaces_become_ready_while_another_client_takes_their_vmids() {
    let cluster = cluster().await;
    let plane = control_plane().await;
    let namespace = plane.namespace("pve-eight").await;
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["backends"] = json!([cluster.backend(cluster.port())]);
    let operator = Operator::start(settings).await;
    template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
    let names = names(8);
    let taking = take_what_is_written_down(cluster, &namespace, 4);
    let making = async {
        for name in &names {
            workspace(&namespace, name, small()).await;
        }
    };
    let (foreign, ()) = tokio::join!(taking, making);
    let before: Vec<Option<String>> = foreign.iter().map(|vmid| cluster.text(*vmid)).collect();
    for name in &names {
        let made = ready_among_many(&namespace, name).await;
        assert_eq!(condition(&made, "AgentConnected"), "True Connected: ");
    }
    let given = vmids(&namespace, &names).await;
    assert!(given.is_disjoint(&foreign), "{given:?} {foreign:?}");
    let made = cluster.of_instance(operator.instance()).await;
    assert_eq!(made.into_keys().collect::<BTreeSet<_>>(), given);
    assert_eq!(clones_to(cluster, &given), names.len());
    remove_all(&namespace, &names).await;
    assert!(cluster.of_instance(operator.instance()).await.is_empty());
    assert_eq!(foreign.iter().map(|vmid| cluster.text(*vmid)).collect::<Vec<_>>(), before);
    for vmid in foreign {
        assert_eq!(cluster.changes_of(vmid), Vec::<String>::new());
        cluster.release(vmid);
    }
    drop(operator);
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_workspaces_than_vmids_wait_until_one_is_free() {
    let few = |pve: &mut Value| pve["vmids"]["workspaces"] = json!({"first": 1000, "last": 1002});
    let scene = Scene::with(CLOCK, few).await;
    // One of the three is somebody else's.
    assert!(scene.cluster.take(1001, "Ann's", true));
    for name in ["one", "two"] {
        workspace(&scene.namespace, name, small()).await;
        scene.running(name).await;
    }
    for name in ["three", "four"] {
        workspace(&scene.namespace, name, small()).await;
        let waiting = broken(&scene.namespace, name, "VmidRangeExhausted").await;
        let ready = condition(&waiting, "Ready");
        assert!(ready.contains("every VMID from 1000 to 1002 is in use"), "{ready}");
        assert_eq!(vmid(&waiting), None);
    }
    delete(&scene.namespace, "one").await;
    gone(&scene.namespace, "one").await;
    eventually(PATIENCE, "somebody has the VMID that became free", || async {
        let waiting =
            scene.namespace.api::<Workspace>().list(&ListParams::default()).await.expect("no answer");
        if waiting.iter().any(|one| vmid(one) == Some(1000)) { Ok(()) } else { Err(scene.operator.log()) }
    })
    .await;
    scene.cluster.release(1001);
    for name in ["three", "four"] {
        scene.running(name).await;
    }
    let given = vmids(&scene.namespace, &["two", "three", "four"].map(str::to_owned)).await;
    assert_eq!(given, (1000..=1002).collect());
    for name in ["two", "three", "four"] {
        delete(&scene.namespace, name).await;
        gone(&scene.namespace, name).await;
    }
    assert_eq!(scene.cluster.simulated.state().guests.keys().copied().collect::<Vec<_>>(), [TEMPLATE]);
    scene.close().await;
}
