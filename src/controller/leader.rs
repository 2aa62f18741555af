//! What a replica does while it is the leader.

use std::{collections::BTreeMap, sync::Arc};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{DevServer, Template, Workspace},
    backend::Backends,
    config::Config,
    gateway::Gateway,
    metrics::Metrics,
};

use super::{
    backoff::Backoff,
    context::{Context, Objects},
    dispatch::Dispatch,
    ledger::Ledger,
    links,
    queue::{self, Watched},
    sweep,
    tasks::Tasks,
    trigger::Triggers,
    workspace::agent::Delivery,
};

/// What the leader's work is given.
#[derive(Clone)]
pub struct Resources {
    /// Talks to the API server.
    pub client: Client,
    /// The configuration.
    pub config: Arc<Config>,
    /// The backends.
    pub backends: Backends,
    /// CA certificates that workspaces trust in addition, by backend.
    pub ca_bundles: BTreeMap<String, String>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How agents are delivered; absent where workspaces have none.
    pub delivery: Option<Delivery>,
    /// The gateway in this process.
    pub gateway: Option<Gateway>,
    /// Tells the rest of the process what this replica has while it is the leader.
    pub leadership: watch::Sender<Option<Arc<Context>>>,
    /// Where other replicas reach this one.
    pub address: Option<String>,
    /// This replica's name.
    pub identity: String,
}

/// Works until `stop` is cancelled, then lets passes that are under way come to their end.
/// Dropping the future ends everything at once.
pub async fn run(resources: Resources, stop: CancellationToken) {
    let Resources {
        client,
        config,
        backends,
        ca_bundles,
        metrics,
        delivery,
        gateway,
        leadership,
        address,
        identity,
    } = resources;
    let namespaces: Vec<String> = config.watch_namespaces.iter().cloned().collect();
    let workspaces: Vec<Watched<Workspace>> = queue::watches(&client, &namespaces);
    let templates: Vec<Watched<Template>> = queue::watches(&client, &template_namespaces(&config));
    let devservers: Vec<Watched<DevServer>> = queue::watches(&client, &namespaces);
    let objects = Objects::new(
        workspaces.iter().map(Watched::reader).collect(),
        templates.iter().map(Watched::reader).collect(),
        devservers.iter().map(Watched::reader).collect(),
    );
    let (triggers, mut triggered) = Triggers::channel();
    let context = Arc::new(Context {
        ledger: Ledger::new(client.clone(), &config.own_namespace()),
        client,
        ca_bundles,
        objects,
        tasks: Tasks::new(triggers.clone()),
        backoff: Backoff::default(),
        crashes: Backoff::default(),
        metrics: Arc::clone(&metrics),
        triggers,
        step_clock: Default::default(),
        bodies: Default::default(),
        template_bodies: Default::default(),
        without_body: Default::default(),
        commands: Default::default(),
        agents: Default::default(),
        devservers: Default::default(),
        delivery,
        identity,
        backends: backends.clone(),
        config,
    });
    metrics.watch_objects(&context);
    let workspaces_known: Vec<_> = workspaces.iter().map(Watched::filled).collect();
    let devservers_known: Vec<_> = devservers.iter().map(Watched::filled).collect();
    let templates_known: Vec<_> = templates.iter().map(Watched::filled).collect();

    let (mut controllers, mut feeders) = (JoinSet::new(), JoinSet::new());
    let mut dispatch = Dispatch::default();
    for watched in templates {
        let (sender, receiver) = mpsc::unbounded_channel();
        dispatch.templates.push((watched.reader(), sender));
        controllers.spawn(queue::templates(watched, receiver, Arc::clone(&context), stop.clone()));
    }
    // Passes need the Templates, so no Workspace is looked at before they are known.
    if !all_filled(templates_known, &stop).await {
        return;
    }
    for watched in workspaces {
        let (sender, receiver) = mpsc::unbounded_channel();
        dispatch.workspaces.push((watched.reader(), sender));
        controllers.spawn(queue::workspaces(watched, receiver, Arc::clone(&context), stop.clone()));
    }
    if let Some(gateway) = gateway {
        feeders.spawn(own_gateway(Arc::clone(&context), gateway, address.unwrap_or_default()));
    }
    let (host_back, back) = mpsc::channel(1);
    for (name, backend) in backends {
        feeders.spawn(queue::backend_changes(name, backend, Arc::clone(&context), host_back.clone()));
    }
    if !all_filled(workspaces_known, &stop).await {
        return;
    }
    // A DevServer is about its Workspace, so none is looked at before those are known.
    for watched in devservers {
        let (sender, receiver) = mpsc::unbounded_channel();
        dispatch.devservers.push((watched.reader(), sender));
        controllers.spawn(queue::devservers(watched, receiver, Arc::clone(&context), stop.clone()));
    }
    if !all_filled(devservers_known, &stop).await {
        return;
    }
    let _leading = Leading::begin(leadership, &context);
    feeders.spawn(sweep::run(Arc::clone(&context), back, stop.clone()));
    loop {
        tokio::select! {
            Some(trigger) = triggered.recv() => dispatch.pass_on(trigger, &context),
            () = stop.cancelled() => break,
        }
    }
    while controllers.join_next().await.is_some() {}
}

/// Attends to the gateway in the leader's own process.
async fn own_gateway(context: Arc<Context>, gateway: Gateway, address: String) {
    let identity = context.identity.clone();
    let tell = |message| {
        gateway.take(message);
        std::future::ready(true)
    };
    links::attend(&context, &identity, &address, gateway.hub.reports(), tell).await;
}

/// Shows the rest of the process that this replica leads, until it is dropped.
struct Leading(watch::Sender<Option<Arc<Context>>>);

impl Leading {
    fn begin(leadership: watch::Sender<Option<Arc<Context>>>, context: &Arc<Context>) -> Self {
        leadership.send_replace(Some(Arc::clone(context)));
        Self(leadership)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// Waits until every cache is filled; false where the work ends before that.
async fn all_filled(caches: Vec<watch::Receiver<bool>>, stop: &CancellationToken) -> bool {
    for mut filled in caches {
        tokio::select! {
            known = filled.wait_for(|filled| *filled) => if known.is_err() { return false },
            () = stop.cancelled() => return false,
        }
    }
    true
}

/// Templates are read from the watched namespaces and from those that share theirs.
fn template_namespaces(config: &Config) -> Vec<String> {
    if config.watch_namespaces.is_empty() {
        return Vec::new();
    }
    let mut namespaces = config.watch_namespaces.clone();
    namespaces.extend(config.templates.shared_namespaces.iter().cloned());
    namespaces.extend(config.templates.default.iter().map(|default| default.namespace.clone()));
    namespaces.into_iter().collect()
}
