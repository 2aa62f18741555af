//! Feeding the controllers: watches of the API server, changes on the backends, ended tasks.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, TryStreamExt, future};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        PredicateConfig, WatchStreamExt,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast::error::RecvError, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, DevServer, Template, Workspace},
    backend::{Change, SharedBackend},
};

use super::{
    context::{Context, devservers_of},
    devserver, template,
    trigger::{TemplateKey, WorkspaceKey},
    workspace,
};

/// A watch of one namespace or of all, and the cache that it fills.
pub struct Watched<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<K>,
    reader: Store<K>,
    writer: Writer<K>,
    filled: watch::Sender<bool>,
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Prepares the watch; nothing is asked yet.
    pub fn new(api: Api<K>) -> Self {
        let (reader, writer) = reflector::store();
        Self { api, reader, writer, filled: watch::Sender::new(false) }
    }

    /// Becomes true once the cache holds everything there is. Unlike the store's own
    /// `wait_until_ready` it can be awaited by several tasks at once.
    pub fn filled(&self) -> watch::Receiver<bool> {
        self.filled.subscribe()
    }

    /// The cache.
    pub fn reader(&self) -> Store<K> {
        self.reader.clone()
    }

    fn objects(self) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>>) {
        let reader = self.reader;
        let stream = watcher(self.api, watcher::Config::default().page_size(500))
            .default_backoff()
            .modify(|object| object.managed_fields_mut().clear())
            .reflect(self.writer)
            .inspect_ok(move |event| {
                if matches!(event, watcher::Event::InitDone) {
                    self.filled.send_replace(true);
                }
            })
            .touched_objects();
        (reader, stream)
    }
}

/// The watches for a kind: one for each namespace, or one for all.
pub fn watches<K>(client: &Client, namespaces: &[String]) -> Vec<Watched<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    if namespaces.is_empty() {
        return vec![Watched::new(Api::all(client.clone()))];
    }
    namespaces.iter().map(|namespace| Watched::new(Api::namespaced(client.clone(), namespace))).collect()
}

/// What of a Workspace makes a pass worthwhile: its spec, its deletion, the annotations that are
/// commands, and an id that is not the one we wrote.
fn interesting(workspace: &Workspace) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    workspace.metadata.generation.hash(&mut hasher);
    workspace.metadata.deletion_timestamp.is_some().hash(&mut hasher);
    workspace.metadata.finalizers.hash(&mut hasher);
    for name in [api::ANNOTATION_FORCE, api::ANNOTATION_ORPHAN, api::ANNOTATION_RETRY] {
        workspace.annotations().get(name).hash(&mut hasher);
    }
    workspace.status.as_ref().and_then(|status| status.id.as_ref()).hash(&mut hasher);
    Some(hasher.finish())
}

/// Runs the Workspace controller over one watch until `stop` is cancelled, then lets what is
/// under way come to its end.
pub async fn workspaces(
    watched: Watched<Workspace>,
    mut triggers: mpsc::UnboundedReceiver<WorkspaceKey>,
    context: Arc<Context>,
    stop: CancellationToken,
) {
    let (reader, objects) = watched.objects();
    let triggers_of_devservers = context.triggers.clone();
    let changed = objects
        .inspect_ok(move |workspace| triggers_of_devservers.devservers(ObjectRef::from_obj(workspace)))
        .predicate_filter(interesting, PredicateConfig::default())
        .filter_map(|object| future::ready(object.ok()))
        .map(|object| ObjectRef::from_obj(&object));
    let triggered = futures::stream::poll_fn(move |task| triggers.poll_recv(task));
    let queue = futures::stream::select(changed, triggered)
        .map(Ok::<_, watcher::Error>)
        .take_until(stop.cancelled_owned());
    let config = controller::Config::default().concurrency(context.config.controller.concurrency);
    let policy = |workspace: Arc<Workspace>, error: &workspace::PassError, context: Arc<Context>| {
        context.metrics.failed("ApiServerFailed");
        let uid = workspace.uid().unwrap_or_default();
        // Somebody else wrote in between: the next pass sees what, and need not wait.
        if matches!(error, workspace::PassError::Api(kube::Error::Api(status)) if status.code == 409) {
            return Action::requeue(Duration::from_millis(100));
        }
        tracing::warn!(workspace = workspace.name_any(), %error, "the pass failed");
        Action::requeue(context.backoff.failed(&uid, "api", "api"))
    };
    let reconcile = |object, context| Box::pin(workspace::reconcile(object, context));
    controller::applier(reconcile, policy, context, reader, queue, config)
        .for_each(|_| future::ready(()))
        .await;
}

/// Runs the Template controller over one watch until `stop` is cancelled, then lets what is under
/// way come to its end.
pub async fn templates(
    watched: Watched<Template>,
    mut triggers: mpsc::UnboundedReceiver<TemplateKey>,
    context: Arc<Context>,
    stop: CancellationToken,
) {
    let (reader, objects) = watched.objects();
    let siblings = reader.clone();
    let waiting = Arc::clone(&context);
    // A Template that comes, changes or goes may change its siblings' part as the default.
    let changed = objects.filter_map(|object| future::ready(object.ok())).flat_map(move |object| {
        wake_waiting(&waiting, &object);
        let namespace = object.metadata.namespace.clone();
        let mut all: Vec<_> = siblings
            .state_filter(|other| other.metadata.namespace == namespace)
            .iter()
            .map(|template| ObjectRef::from_obj(template.as_ref()))
            .collect();
        // While the cache is being filled the object itself is not in it yet.
        all.push(ObjectRef::from_obj(&object));
        futures::stream::iter(all)
    });
    let triggered = futures::stream::poll_fn(move |task| triggers.poll_recv(task));
    let queue = futures::stream::select(changed, triggered)
        .map(Ok::<_, watcher::Error>)
        .take_until(stop.cancelled_owned());
    let policy = |template: Arc<Template>, error: &kube::Error, context: Arc<Context>| {
        // Somebody else wrote in between, or it is gone: the next pass sees what.
        if matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404) {
            return Action::requeue(Duration::from_millis(100));
        }
        context.metrics.failed("ApiServerFailed");
        tracing::warn!(template = template.name_any(), %error, "the pass failed");
        Action::requeue(context.backoff.failed(&template.uid().unwrap_or_default(), "api", "api"))
    };
    let reconcile = |object, context| Box::pin(template::reconcile(object, context));
    let config = controller::Config::default().concurrency(context.config.controller.concurrency);
    controller::applier(reconcile, policy, context, reader, queue, config)
        .for_each(|_| future::ready(()))
        .await;
}

/// Workspaces that have no body yet may be waiting for just this Template.
fn wake_waiting(context: &Context, template: &Template) {
    tracing::debug!(template = template.name_any(), "changed");
    for workspace in context.objects.workspaces() {
        let stuck = workspace.status.as_ref().is_some_and(|status| {
            status.error.is_some()
                && (status.id.is_none() || status.step.as_deref() == Some("CreatingContainer"))
        });
        if stuck {
            context.backoff.clear(&workspace.uid().unwrap_or_default());
            context.triggers.workspace(ObjectRef::from_obj(workspace.as_ref()));
        }
    }
}

/// What an agent tells of its processes within this time is looked at together: whoever works in
/// the workspace may have it tell more than anybody wants to know.
const TOGETHER: Duration = Duration::from_millis(50);

/// Runs the DevServer controller over one watch until `stop` is cancelled, then lets what is under
/// way come to its end.
pub async fn devservers(
    watched: Watched<DevServer>,
    mut triggers: mpsc::UnboundedReceiver<ObjectRef<DevServer>>,
    context: Arc<Context>,
    stop: CancellationToken,
) {
    let (known, filled) = (watched.reader(), watched.filled());
    let (reader, objects) = watched.objects();
    let looking = Arc::clone(&context);
    let mut seen = HashMap::new();
    // One that comes, changes or goes may change what its siblings are left with; what is said of
    // it does not.
    let changed = objects.filter_map(|object| future::ready(object.ok())).flat_map(move |object| {
        let own = ObjectRef::from_obj(&object);
        let going = object.metadata.deletion_timestamp.is_some();
        let face = (object.uid(), object.metadata.generation, going);
        let other = if *filled.borrow() && known.get(&own).is_none() {
            devserver::forget(&looking, &object);
            seen.remove(&own);
            true
        } else {
            seen.insert(own.clone(), face.clone()) != Some(face)
        };
        let siblings = if other { devservers_of(&known, &devserver::home_of(&object)) } else { Vec::new() };
        let mut all: Vec<_> = siblings.iter().map(|one| ObjectRef::from_obj(one.as_ref())).collect();
        // While the cache is being filled the object itself is not in it yet.
        all.push(own);
        futures::stream::iter(all)
    });
    let triggered = futures::stream::poll_fn(move |task| triggers.poll_recv(task));
    let queue = futures::stream::select(changed, triggered)
        .map(Ok::<_, watcher::Error>)
        .take_until(stop.cancelled_owned());
    let config =
        controller::Config::default().concurrency(context.config.controller.concurrency).debounce(TOGETHER);
    let policy = |devserver: Arc<DevServer>, error: &kube::Error, context: Arc<Context>| {
        // Somebody else wrote in between, or it is gone: the next pass sees what.
        if matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404) {
            return Action::requeue(Duration::from_millis(100));
        }
        context.metrics.failed("ApiServerFailed");
        tracing::warn!(devserver = devserver.name_any(), %error, "the pass failed");
        Action::requeue(context.backoff.failed(&devserver.uid().unwrap_or_default(), "api", "api"))
    };
    let reconcile = |object, context| Box::pin(devserver::reconcile(object, context));
    controller::applier(reconcile, policy, context, reader, queue, config)
        .for_each(|_| future::ready(()))
        .await;
}

/// Turns one backend's changes into passes, until the backend is gone.
pub async fn backend_changes(
    name: String,
    backend: SharedBackend,
    context: Arc<Context>,
    host_back: mpsc::Sender<()>,
) {
    let mut changes = backend.changes();
    loop {
        match changes.recv().await {
            Ok(Change::Body(id)) => {
                if let Some(key) = context.workspace_of(id) {
                    context.triggers.workspace(key);
                } else if let Some(key) = context.template_of(id) {
                    context.triggers.template(key);
                }
            }
            Ok(Change::Host(host)) => {
                host_changed(&context, &name, &host);
                let _ = host_back.try_send(());
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    backend = name,
                    missed,
                    "changes of the backend were missed; looking at everything on it"
                );
                for host in backend.hosts() {
                    host_changed(&context, &name, &host.name);
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// A host that came or went concerns every workspace on it, and those that wait for a place; and
/// each Template that is built on its backend.
fn host_changed(context: &Context, backend: &str, host: &str) {
    for workspace in context.objects.workspaces() {
        let resolved = workspace.status.as_ref().and_then(|status| status.resolved.as_ref());
        let concerned = match resolved {
            Some(resolved) => resolved.backend == backend && resolved.host.as_deref() == Some(host),
            None => true,
        };
        if concerned {
            context.backoff.clear(&workspace.uid().unwrap_or_default());
            context.triggers.workspace(ObjectRef::from_obj(workspace.as_ref()));
        }
    }
    for template in context.objects.templates() {
        let made = template.status.as_ref().and_then(|status| status.proxmox.as_ref());
        if made.is_some_and(|made| made.backend.as_deref() == Some(backend)) {
            context.backoff.clear(&template.uid().unwrap_or_default());
            context.triggers.template(ObjectRef::from_obj(template.as_ref()));
        }
    }
}
