//! Two hundred workspaces on a backend where every tenth call fails, some after having taken
//! effect, with the leader lost half-way.
//!
//! The leader's work runs inside this process, so that what "exists" on the backend can be judged
//! at the end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    api::Workspace,
    backend::{
        Backends, BodyId, InstanceId,
        memory::{MemoryBackend, MemoryWorld},
    },
    config::{Config, MemoryBackend as MemoryConfig},
    controller::leader::{self, Resources},
    metrics::Metrics,
};
use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing_subscriber::EnvFilter;

use crate::support::{Namespace, control_plane, eventually, eventually_every, objects};

const WORKSPACES: usize = 200;
/// Failing tries wait longer and longer, and a few have much bad luck.
const PATIENCE: Duration = Duration::from_secs(240);

/// The work of a leader on the world, until it is dropped.
fn lead(namespace: &Namespace, world: &Arc<MemoryWorld>, seed: u64) -> AbortOnDropHandle<()> {
    let config: Config = serde_json::from_value(json!({
        "instance": "chaos",
        "namespace": namespace.name,
        "watchNamespaces": [namespace.name],
        "backends": [{"name": "memory", "memory": {"hosts": ["a", "b"]}}],
        "controller": {"resync": "1m"},
        "orphans": {"interval": "1s"},
    }))
    .unwrap();
    let faults = MemoryConfig { fault_rate: 0.1, seed, ..Default::default() };
    let backend = MemoryBackend::on(Arc::clone(world), &faults, InstanceId("chaos".into()));
    let resources = Resources {
        delivery: None,
        gateway: None,
        leadership: tokio::sync::watch::Sender::new(None),
        address: None,
        client: namespace.client.clone(),
        config: Arc::new(config),
        backends: Backends::from([("memory".to_owned(), backend as _)]),
        ca_bundles: BTreeMap::new(),
        metrics: Arc::new(Metrics::new().unwrap()),
        identity: format!("chaos-{seed}"),
    };
    AbortOnDropHandle::new(tokio::spawn(leader::run(resources, CancellationToken::new())))
}

/// Does something about every workspace, a few at a time.
async fn for_all<F, Fut>(act: F)
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = ()>,
{
    stream::iter((0..WORKSPACES).map(|number| format!("w{number}"))).for_each_concurrent(16, act).await;
}

/// Waits until so many workspaces are in a phase.
async fn count(api: &Api<Workspace>, what: &str, wanted: usize, holds: impl Fn(&Workspace) -> bool) {
    let started = std::time::Instant::now();
    eventually_every(Duration::from_secs(1), PATIENCE, what, || async {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let others: Vec<String> = all.iter().filter(|one| !holds(one)).map(objects::describe).collect();
        match all.items.len() - others.len() == wanted {
            true => Ok(()),
            false => {
                Err(format!("{} are not: {}", others.len(), others.first().cloned().unwrap_or_default()))
            }
        }
    })
    .await;
    println!("{what}: after {:?}", started.elapsed());
}

fn in_phase(workspace: &Workspace, phase: &str) -> bool {
    let status = workspace.status.clone().unwrap_or_default();
    status.phase.as_deref() == Some(phase) && status.observed_generation == workspace.metadata.generation
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_workspaces_with_faults_leave_nothing_over_and_nothing_twice() {
    // RUST_LOG and --nocapture show what the leader does.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).try_init();
    let plane = control_plane().await;
    let namespace = plane.namespace("chaos").await;
    let api: Api<Workspace> = namespace.api();
    let world = MemoryWorld::new(&["a".to_owned(), "b".to_owned()]);
    objects::template(&namespace).await;

    let first = lead(&namespace, &world, 1);
    let half = tokio::sync::Notify::new();
    let created = std::sync::atomic::AtomicUsize::new(0);
    tokio::join!(
        for_all(|name| {
            let (namespace, half, created) = (&namespace, &half, &created);
            async move {
                let spec = json!({"repository": {"url": "https://git.example.com/a.git"}});
                objects::workspace(namespace, &name, spec).await;
                if created.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == WORKSPACES / 2 {
                    half.notify_one();
                }
            }
        }),
        async {
            // The leader is gone in the middle of its work, with nothing of it brought to an end.
            half.notified().await;
            drop(first);
        }
    );
    let second = lead(&namespace, &world, 2);
    count(&api, "all are running", WORKSPACES, |one| in_phase(one, "Running")).await;
    assert_eq!(world.duplicates(), Vec::<String>::new());
    assert_eq!(world.containers_ever_made(), WORKSPACES as u64, "one container each, and not one more");

    // Half of them lose their container, and all are suspended and come back.
    let all = api.list(&ListParams::default()).await.unwrap();
    for workspace in all.iter().step_by(2) {
        let id: BodyId = workspace.status.as_ref().unwrap().id.as_ref().unwrap().parse().unwrap();
        world.lose_container(id);
    }
    for (mode, phase) in [("Suspended", "Suspended"), ("Running", "Running")] {
        for_all(|name| {
            let api = &api;
            async move {
                let change = Patch::Merge(json!({"spec": {"operatingMode": mode}}));
                api.patch(&name, &PatchParams::default(), &change).await.unwrap();
            }
        })
        .await;
        count(&api, phase, WORKSPACES, |one| in_phase(one, phase)).await;
    }
    assert_eq!(world.duplicates(), Vec::<String>::new());
    // A container and a network each, and two volumes.
    assert_eq!(world.items().len(), WORKSPACES * 4);

    for_all(|name| {
        let api = &api;
        async move {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    })
    .await;
    count(&api, "all are gone", 0, |_| false).await;
    eventually(Duration::from_secs(30), "nothing is left over", || async {
        let left = world.items();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(world.duplicates(), Vec::<String>::new());
    drop(second);
    namespace.delete().await;
}
