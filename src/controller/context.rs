//! What every pass of a controller works with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use kube::{
    Client, Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    api::{DevServer, Template, Workspace},
    backend::{BackendError, Backends, BodyId, BodyRef, ContainerRef, JobState, Owner, SharedBackend},
    config::Config,
    metrics::Metrics,
};

use super::{
    agents::Agents,
    backoff::Backoff,
    commands::Commands,
    devserver,
    ledger::Ledger,
    tasks::Tasks,
    trigger::{TemplateKey, Triggers, WorkspaceKey},
    workspace::{Step, Templates, agent::Delivery, record::Record},
};

/// How a task of a workspace ended.
pub type TaskResult = Result<Option<JobState>, BackendError>;

/// What every pass works with. Made anew each time this replica becomes the leader, and dropped
/// with the leadership.
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// The configuration.
    pub config: Arc<Config>,
    /// The configured backends.
    pub backends: Backends,
    /// CA certificates that workspaces trust in addition, by backend.
    pub ca_bundles: BTreeMap<String, String>,
    /// The objects as the API server last showed them.
    pub objects: Objects,
    /// Long work under way.
    pub tasks: Tasks<TaskResult>,
    /// Who is to wait before the next try. A success ends it.
    pub backoff: Backoff,
    /// Whose container ended by itself, and is to wait before it is started again. A start does
    /// not end it: only time does.
    pub crashes: Backoff,
    /// Work that was left behind by deletions.
    pub ledger: Ledger,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Asks for passes.
    pub triggers: Triggers,
    /// When each object's present step began, for the metric.
    pub step_clock: Mutex<HashMap<String, (Step, Instant)>>,
    /// The object behind each body, for the backends' changes.
    pub bodies: Mutex<HashMap<BodyId, WorkspaceKey>>,
    /// The Template behind each container that one is built in.
    pub template_bodies: Mutex<HashMap<BodyId, TemplateKey>>,
    /// Objects without an id of which this replica knows that no backend has anything: it has put
    /// their finalizer on, or has searched for them.
    pub without_body: Mutex<HashSet<String>>,
    /// How agents are delivered; absent where workspaces have none.
    pub delivery: Option<Delivery>,
    /// Commands that wait for a pass.
    pub commands: Commands,
    /// What is known and wanted of the agents.
    pub agents: Arc<Agents>,
    /// What was found out about the DevServers.
    pub devservers: devserver::Registry,
    /// This replica, for events.
    pub identity: String,
}

impl Context {
    /// Notes whether an object is known to have nothing on any backend.
    pub fn note_without_body(&self, uid: &str, known: bool) {
        let mut without = self.without_body.lock().unwrap_or_else(PoisonError::into_inner);
        if known {
            without.insert(uid.to_owned());
        } else {
            without.remove(uid);
        }
    }

    /// Whether an object is known to have nothing on any backend.
    pub fn is_without_body(&self, uid: &str) -> bool {
        self.without_body.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }

    /// The container of a body, as its status has it, with the backend that it is on.
    pub fn container_of(&self, id: BodyId) -> Option<(SharedBackend, ContainerRef)> {
        let key = self.workspace_of(id)?;
        let workspace = self.objects.workspace(&key)?;
        let record = Record::parse(workspace.status.as_ref());
        let body = record.body.filter(|body| body.id == id)?;
        let owner =
            Owner { namespace: workspace.namespace()?, name: workspace.name_any(), uid: workspace.uid()? };
        let backend = self.backends.get(&body.backend)?;
        let known = crate::backend::Known { number: body.number, host_key: record.host_key };
        let reference = BodyRef { host: body.host, id, owner, known };
        Some((Arc::clone(backend), ContainerRef { body: reference, incarnation: body.incarnation }))
    }

    /// Notes the Workspace of a body.
    pub fn note_body(&self, id: BodyId, key: WorkspaceKey) {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key);
    }

    /// The Workspace of a body.
    pub fn workspace_of(&self, id: BodyId) -> Option<WorkspaceKey> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Notes the Template of a body.
    pub fn note_template_body(&self, id: BodyId, key: TemplateKey) {
        self.template_bodies.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key);
    }

    /// The Template of a body.
    pub fn template_of(&self, id: BodyId) -> Option<TemplateKey> {
        self.template_bodies.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str, body: Option<BodyId>) {
        self.tasks.cancel(uid);
        self.backoff.clear(uid);
        self.crashes.clear(uid);
        drop(self.commands.take(uid));
        self.objects.forget(uid);
        self.note_without_body(uid, false);
        self.step_clock.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        if let Some(id) = body {
            self.agents.forget(id);
            self.bodies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            self.template_bodies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
    }
}

/// The objects as the API server last showed them: the watches' caches, and on top of them what
/// this replica wrote and the watches have not shown yet.
#[derive(Default)]
pub struct Objects {
    workspaces: Vec<Store<Workspace>>,
    templates: Vec<Store<Template>>,
    devservers: Vec<Store<DevServer>>,
    written_workspaces: Written<Workspace>,
    written_templates: Written<Template>,
    written_devservers: Written<DevServer>,
}

impl Objects {
    /// Puts the caches together, one of each kind for every watch.
    pub fn new(
        workspaces: Vec<Store<Workspace>>,
        templates: Vec<Store<Template>>,
        devservers: Vec<Store<DevServer>>,
    ) -> Self {
        Self { workspaces, templates, devservers, ..Default::default() }
    }

    /// Notes what the API server answered to a write.
    pub fn wrote(&self, workspace: Arc<Workspace>) {
        self.written_workspaces.note(workspace);
    }

    /// Notes what the API server answered to a write.
    pub fn wrote_template(&self, template: Arc<Template>) {
        self.written_templates.note(template);
    }

    /// Notes what the API server answered to a write.
    pub fn wrote_devserver(&self, devserver: Arc<DevServer>) {
        self.written_devservers.note(devserver);
    }

    /// The newer of what a watch shows and what was written.
    pub fn freshest(&self, cached: Arc<Workspace>) -> Arc<Workspace> {
        self.written_workspaces.freshest(cached)
    }

    /// The newer of what a watch shows and what was written.
    pub fn freshest_template(&self, cached: Arc<Template>) -> Arc<Template> {
        self.written_templates.freshest(cached)
    }

    /// The newer of what a watch shows and what was written.
    pub fn freshest_devserver(&self, cached: Arc<DevServer>) -> Arc<DevServer> {
        self.written_devservers.freshest(cached)
    }

    /// Drops what was written about an object.
    pub fn forget(&self, uid: &str) {
        self.written_workspaces.forget(uid);
        self.written_templates.forget(uid);
        self.written_devservers.forget(uid);
    }

    /// Every Workspace, as fresh as it is known.
    pub fn workspaces(&self) -> Vec<Arc<Workspace>> {
        self.workspaces.iter().flat_map(Store::state).map(|workspace| self.freshest(workspace)).collect()
    }

    /// Every Template, as fresh as it is known.
    pub fn templates(&self) -> Vec<Arc<Template>> {
        self.templates.iter().flat_map(Store::state).map(|one| self.freshest_template(one)).collect()
    }

    /// The numbers that are written down for the containers of a backend's Workspaces and Templates.
    pub fn numbers(&self, backend: &str, config: &Config) -> BTreeSet<u32> {
        let workspaces = self.workspaces();
        let of_workspaces = workspaces.iter().filter_map(|workspace| {
            let resolved = workspace.status.as_ref()?.resolved.as_ref()?;
            resolved.vmid.filter(|_| resolved.backend == backend)
        });
        let templates = self.templates();
        let of_templates = templates.iter().filter_map(|template| {
            let named = template.spec.backend.as_ref().map(|backend| backend.name.as_str());
            let made = template.status.as_ref()?.proxmox.as_ref()?;
            let home = made.backend.as_deref().or(named).or(config.default_backend());
            made.vmid.filter(|_| home == Some(backend))
        });
        of_workspaces.chain(of_templates).collect()
    }

    /// A Workspace by key.
    pub fn workspace(&self, key: &WorkspaceKey) -> Option<Arc<Workspace>> {
        self.workspaces.iter().find_map(|store| store.get(key)).map(|workspace| self.freshest(workspace))
    }

    /// Whether a DevServer is still there.
    pub fn has_devserver(&self, devserver: &DevServer) -> bool {
        let key = ObjectRef::from_obj(devserver);
        let mut found = self.devservers.iter().filter_map(|store| store.get(&key));
        found.any(|found| found.metadata.uid == devserver.metadata.uid)
    }

    /// Every DevServer, as fresh as it is known.
    pub fn devservers(&self) -> Vec<Arc<DevServer>> {
        let all = self.devservers.iter().flat_map(Store::state);
        all.map(|devserver| self.freshest_devserver(devserver)).collect()
    }

    /// The DevServers of a Workspace, whether that exists or not.
    pub fn devservers_of(&self, key: &WorkspaceKey) -> Vec<Arc<DevServer>> {
        self.devservers.iter().flat_map(|store| devservers_of(store, key)).collect()
    }
}

/// The DevServers of a Workspace in one cache.
pub fn devservers_of(store: &Store<DevServer>, key: &WorkspaceKey) -> Vec<Arc<DevServer>> {
    store.state_filter(|one| {
        one.metadata.namespace == key.namespace && one.spec.workspace_ref.name == key.name
    })
}

/// What this replica wrote and the watches have not shown yet, by uid.
struct Written<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource> Written<K> {
    fn note(&self, object: Arc<K>) {
        let uid = object.uid().unwrap_or_default();
        self.lock().insert(uid, object);
    }

    fn freshest(&self, cached: Arc<K>) -> Arc<K> {
        let uid = cached.uid().unwrap_or_default();
        let mut written = self.lock();
        match written.get(&uid) {
            Some(ours) if version(&**ours) > version(&*cached) => Arc::clone(ours),
            Some(_) => {
                written.remove(&uid);
                cached
            }
            None => cached,
        }
    }

    fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Templates for Objects {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<Template>> {
        let key = kube::runtime::reflector::ObjectRef::new(name).within(namespace);
        self.templates.iter().find_map(|store| store.get(&key))
    }

    fn of_namespace(&self, namespace: &str) -> Vec<Arc<Template>> {
        let home = |template: &Template| template.metadata.namespace.as_deref() == Some(namespace);
        self.templates.iter().flat_map(|store| store.state_filter(home)).collect()
    }
}

/// Resource versions of one kind can be compared as numbers.
fn version(object: &impl Resource) -> u128 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}
