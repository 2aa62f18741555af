//! Many containers from one template at once, while another client takes VMIDs of the same range.
//! The backend alone, without an API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use berth::{
    backend::{
        BodyId, BodyRef, ContainerRef, ContainerSpec, Incarnation, Infrastructure, InstanceId, Known, Owner,
        Reason, SharedBackend, proxmox::ProxmoxBackend,
    },
    config,
};
use futures::{StreamExt, future::join_all, stream};
use serde_json::json;

use crate::support::{
    eventually,
    proxmox::{Clock, Cluster, TEMPLATE, two_nodes},
};

const CONTAINERS: usize = 50;
const FOREIGN: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// What asks the backend for containers, as the controller does.
struct Maker {
    backend: SharedBackend,
    /// What stands in the statuses.
    written: Mutex<BTreeMap<BodyId, u32>>,
}

impl Maker {
    fn written(&self) -> MutexGuard<'_, BTreeMap<BodyId, u32>> {
        self.written.lock().expect("nobody panicked")
    }

    async fn make(&self, number: usize) -> BodyRef {
        let name = format!("w{number}");
        let owner = Owner { namespace: "team".to_owned(), name: name.clone(), uid: format!("uid-{number}") };
        let mut body =
            BodyRef { host: "pve1".to_owned(), id: BodyId::random(), owner, known: Known::default() };
        let spec = spec(name);
        let progress = tokio::sync::watch::Sender::new(String::new());
        loop {
            let taken: BTreeSet<u32> = self.written().values().copied().collect();
            let vmid = self.backend.reserve(&body, &spec, &taken).await.expect("no VMID").expect("a number");
            body.known.number = Some(vmid);
            self.written().insert(body.id, vmid);
            match self.backend.create(&body, &spec, &progress).await {
                Ok(()) => return body,
                Err(error) if error.reason == Reason::NumberTaken => {
                    body.known.number = None;
                    self.written().remove(&body.id);
                }
                Err(error) => panic!("{}: {error}", body.owner),
            }
        }
    }
}

fn spec(hostname: String) -> ContainerSpec {
    ContainerSpec {
        incarnation: Incarnation::FIRST,
        image: format!("vmid:{TEMPLATE}"),
        user: "dev".to_owned(),
        hostname,
        cpu_millis: 500,
        memory_bytes: 256 << 20,
        pids: 100,
        dns_servers: Vec::new(),
        infrastructure: Infrastructure { disk_bytes: Some(2 << 30), ..Infrastructure::default() },
    }
}

/// Takes VMIDs, some that are written down already and some that are the next to be, until it has
/// enough of them.
async fn take(cluster: &Cluster, maker: &Maker, first: u32) -> BTreeMap<u32, String> {
    let mut taken = BTreeMap::new();
    while taken.len() < FOREIGN {
        let promised: Vec<u32> = maker.written().values().copied().collect();
        let next = (first..).find(|vmid| cluster.text(*vmid).is_none() && !promised.contains(vmid));
        let wanted = if taken.len() % 2 == 0 { promised.iter().rev().copied().collect() } else { Vec::new() };
        let free = wanted.into_iter().chain(next).find(|vmid| cluster.take(*vmid, "Ann's", false));
        if let Some(vmid) = free {
            taken.insert(vmid, cluster.text(vmid).expect("it is there"));
        }
        let made = cluster.clones();
        let enough = taken.len() * CONTAINERS / FOREIGN;
        eventually(PATIENCE, "some are cloned meanwhile", || async {
            if made.max(cluster.clones()) >= enough.min(CONTAINERS - 1) {
                Ok(())
            } else {
                Err(cluster.clones())
            }
        })
        .await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clones_of_one_template_while_somebody_else_takes_vmids() {
    let at_once = Clock { work: 0.0, patience: 1.0 };
    let cluster = Cluster::in_memory(two_nodes(), at_once).await;
    // Some take their time, so that others have to wait for their turn.
    cluster.slow_tasks("vzclone", 15, Duration::from_millis(50));
    let mut backend = cluster.backend(cluster.port());
    let first = 1000;
    backend["proxmox"]["vmids"] =
        json!({"workspaces": {"first": first, "last": 1099}, "templates": {"first": 1100, "last": 1109}});
    let config: config::ProxmoxBackend = serde_json::from_value(backend["proxmox"].clone()).unwrap();
    let backend = ProxmoxBackend::connect(&config, InstanceId("fifty".to_owned()), None).unwrap();
    let maker = Maker { backend, written: Mutex::default() };

    let (bodies, foreign) = tokio::join!(
        join_all((0..CONTAINERS).map(|number| maker.make(number))),
        take(&cluster, &maker, first)
    );
    let vmids: BTreeSet<u32> = bodies.iter().filter_map(|body| body.known.number).collect();
    assert_eq!(vmids.len(), CONTAINERS, "a VMID was given twice");
    assert!(vmids.iter().all(|vmid| !foreign.contains_key(vmid)));
    for body in &bodies {
        let found = cluster.configuration(body.known.number.unwrap()).await.expect("it is there");
        for line in [format!("berth-owner: {}", body.owner), format!("berth-id: {}", body.id)] {
            assert!(found.description.contains(&line), "{line}: {}", found.description);
        }
        assert!(found.tags.to_string().contains(&format!("berth-id-{}", body.id)), "{:?}", found.tags);
        assert_eq!(found.hostname.as_deref(), Some(body.owner.name.as_str()));
    }
    assert_eq!(cluster.clones(), CONTAINERS);
    let refused = cluster.recorded().into_iter().filter(|call| call.path.ends_with("/clone"));
    let locked: Vec<String> =
        refused.map(|call| call.reason).filter(|reason| reason.contains("locked")).collect();
    assert_eq!(locked, Vec::<String>::new(), "two clones of the template at once");

    let container = |body: &BodyRef| ContainerRef { body: body.clone(), incarnation: Incarnation::FIRST };
    let started = join_all(bodies.iter().map(|body| {
        let container = container(body);
        let backend = &maker.backend;
        async move { backend.start(&container).await }
    }));
    for (started, vmid) in started.await.into_iter().zip(&vmids) {
        started.unwrap();
        assert!(cluster.simulated.runs(*vmid).await, "CT {vmid} does not run");
    }
    let removed: Vec<_> = stream::iter(&bodies)
        .map(|body| maker.backend.remove(body, false))
        .buffer_unordered(10)
        .collect()
        .await;
    removed.into_iter().for_each(|removed| removed.unwrap());
    let left: Vec<u32> = cluster.simulated.state().guests.keys().copied().collect();
    assert_eq!(left, [TEMPLATE].into_iter().chain(foreign.keys().copied()).collect::<Vec<_>>());
    for (vmid, text) in foreign {
        assert_eq!(cluster.text(vmid), Some(text), "CT {vmid}");
        assert_eq!(cluster.changes_of(vmid), Vec::<String>::new());
    }
}
