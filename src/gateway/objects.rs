//! The Workspaces and DevServers as a gateway knows them: few words of each, from watches of its
//! own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{Stream, StreamExt};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use super::api::objects::{DevServerView, Objects};
use crate::{
    api::{DevServer, Workspace, condition},
    backend::BodyId,
    link::{
        accept::{Owners, Standing},
        token::Epoch,
    },
};

/// Bodies of deleted workspaces that are remembered, to tell their agents not to come back.
const TOMBSTONES: usize = 100_000;

/// One object, in few words.
pub trait View: Clone + Send + Sync + 'static {
    /// The object that it is of.
    type Object: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static;

    /// The words.
    fn of(object: &Self::Object) -> Self;
}

/// What a gateway knows of one Workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its body, once it has one.
    pub id: Option<BodyId>,
    /// The generation of its agent's tokens.
    pub epoch: Epoch,
    /// The word in its status.
    pub phase: Option<String>,
    /// Reason and message of its `Ready` condition, where that is not true.
    pub not_ready: Option<(String, String)>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Name of the user that works in it.
    pub user: String,
}

impl View for WorkspaceView {
    type Object = Workspace;

    fn of(workspace: &Workspace) -> Self {
        let status = workspace.status.as_ref();
        let ready =
            status.and_then(|status| status.conditions.iter().find(|one| one.type_ == condition::READY));
        Self {
            namespace: workspace.namespace().unwrap_or_default(),
            name: workspace.name_any(),
            uid: workspace.uid().unwrap_or_default(),
            id: status.and_then(|status| status.id.as_ref()?.parse().ok()),
            epoch: Epoch(status.and_then(|status| status.incarnation).unwrap_or_default()),
            phase: status.and_then(|status| status.phase.clone()),
            not_ready: ready
                .filter(|ready| ready.status != "True")
                .map(|ready| (ready.reason.clone(), ready.message.clone())),
            deleting: workspace.metadata.deletion_timestamp.is_some(),
            user: status
                .and_then(|status| status.resolved.as_ref())
                .map(|resolved| resolved.user.clone())
                .unwrap_or_default(),
        }
    }
}

impl View for DevServer {
    type Object = Self;

    fn of(devserver: &Self) -> Self {
        let mut kept = devserver.clone();
        kept.metadata.managed_fields = None;
        kept.metadata.annotations = None;
        // A gateway has no use for these, and they are the larger part.
        kept.spec.command = String::new();
        kept.spec.env = Vec::new();
        kept
    }
}

/// Namespace and name.
type Key = (String, String);

/// What happened to an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It came, or is another one now.
    Present,
    /// It went.
    Gone,
}

/// Follows the objects of a kind for ever, and tells of each that came, changed or went; also of
/// those that went while nobody watched.
pub async fn follow<V: View>(client: Client, namespace: Option<&str>, mut tell: impl FnMut(Key, V, Change)) {
    let api: Api<V::Object> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let events = watcher(api, watcher::Config::default().page_size(500)).default_backoff();
    follow_events(events, &mut tell).await;
}

async fn follow_events<V: View>(
    events: impl Stream<Item = watcher::Result<watcher::Event<V::Object>>>,
    tell: &mut impl FnMut(Key, V, Change),
) {
    let mut events = std::pin::pin!(events);
    let (mut known, mut listed) = (HashMap::new(), HashSet::new());
    let key = |object: &V::Object| (object.namespace().unwrap_or_default(), object.name_any());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(key(&object));
                known.insert(key(&object), V::of(&object));
                tell(key(&object), V::of(&object), Change::Present);
            }
            Ok(watcher::Event::InitDone) => {
                let missing: Vec<Key> = known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in missing {
                    if let Some(view) = known.remove(&key) {
                        tell(key, view, Change::Gone);
                    }
                }
                listed.clear();
            }
            Ok(watcher::Event::Apply(object)) => {
                known.insert(key(&object), V::of(&object));
                tell(key(&object), V::of(&object), Change::Present);
            }
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&key(&object));
                tell(key(&object), V::of(&object), Change::Gone);
            }
            Err(error) => tracing::warn!(%error, "a watch failed"),
        }
    }
}

/// The objects as a gateway knows them.
#[derive(Default)]
pub struct Known {
    workspaces: RwLock<Workspaces>,
    devservers: RwLock<DevServers>,
}

#[derive(Default)]
struct Workspaces {
    by_name: HashMap<Key, Arc<WorkspaceView>>,
    by_id: HashMap<BodyId, Arc<WorkspaceView>>,
    gone: HashSet<BodyId>,
    gone_in_order: VecDeque<BodyId>,
}

#[derive(Default)]
struct DevServers {
    by_name: HashMap<Key, Arc<DevServer>>,
    by_host: HashMap<String, Arc<DevServer>>,
}

impl Workspaces {
    fn put(&mut self, key: Key, known: WorkspaceView) {
        let known = Arc::new(known);
        if let Some(before) = self.by_name.insert(key, Arc::clone(&known))
            && before.uid != known.uid
        {
            self.bury(&before);
        }
        if let Some(id) = known.id {
            self.by_id.insert(id, known);
        }
    }

    fn remove(&mut self, key: &Key, known: &WorkspaceView) {
        self.by_name.remove(key);
        self.bury(known);
    }

    fn bury(&mut self, known: &WorkspaceView) {
        let Some(id) = known.id else { return };
        self.by_id.remove(&id);
        if self.gone.insert(id) {
            self.gone_in_order.push_back(id);
        }
        if self.gone_in_order.len() > TOMBSTONES
            && let Some(oldest) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }
}

fn host(devserver: &DevServer) -> Option<String> {
    devserver.status.as_ref()?.preview.as_ref()?.host.clone()
}

impl DevServers {
    fn put(&mut self, key: Key, devserver: DevServer) {
        let devserver = Arc::new(devserver);
        if let Some(host) = host(&devserver) {
            self.by_host.insert(host, Arc::clone(&devserver));
        }
        self.by_name.insert(key, devserver);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(host) = self.by_name.remove(key).as_deref().and_then(host) {
            self.by_host.remove(&host);
        }
    }
}

impl Known {
    /// Takes in what happened to a Workspace. Returns the body whose agent may no longer have a
    /// link.
    pub fn workspace_changed(&self, key: Key, known: WorkspaceView, change: Change) -> Option<BodyId> {
        let mut workspaces = self.workspaces.write().unwrap_or_else(PoisonError::into_inner);
        let id = known.id;
        match change {
            Change::Present => {
                let deleting = known.deleting;
                let replaced = workspaces.by_name.get(&key).and_then(|before| before.id);
                workspaces.put(key, known);
                replaced.filter(|before| Some(*before) != id).or(id.filter(|_| deleting))
            }
            Change::Gone => {
                workspaces.remove(&key, &known);
                id
            }
        }
    }

    /// Takes in what happened to a DevServer.
    pub fn devserver_changed(&self, key: Key, devserver: DevServer, change: Change) {
        let mut devservers = self.devservers.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Present => devservers.put(key, devserver),
            Change::Gone => devservers.remove(&key),
        }
    }

    /// A Workspace by namespace and name.
    pub fn workspace_named(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.workspaces.read().unwrap_or_else(PoisonError::into_inner).by_name.get(&key).cloned()
    }

    /// A DevServer by the host name of its preview.
    pub fn devserver_of_host(&self, host: &str) -> Option<Arc<DevServer>> {
        self.devservers.read().unwrap_or_else(PoisonError::into_inner).by_host.get(host).cloned()
    }
}

impl Owners for Known {
    fn standing(&self, id: BodyId) -> Standing {
        let workspaces = self.workspaces.read().unwrap_or_else(PoisonError::into_inner);
        match workspaces.by_id.get(&id) {
            Some(known) if known.deleting => Standing::Gone,
            Some(known) => Standing::Present(known.epoch),
            None if workspaces.gone.contains(&id) => Standing::Gone,
            None => Standing::Unknown,
        }
    }
}

impl Objects for Known {
    fn workspace(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        self.workspace_named(namespace, name)
    }

    fn devserver(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>> {
        let key = (namespace.to_owned(), name.to_owned());
        let devservers = self.devservers.read().unwrap_or_else(PoisonError::into_inner);
        let devserver = devservers.by_name.get(&key)?;
        Some(Arc::new(DevServerView {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: devserver.uid().unwrap_or_default(),
            workspace: devserver.spec.workspace_ref.name.clone(),
            process: name.parse().ok()?,
            port: devserver.spec.port,
            preview: devserver.status.as_ref().and_then(|status| status.preview.as_ref()?.url.clone()),
            deleting: devserver.metadata.deletion_timestamp.is_some(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0011223344556677";
    const SECOND: &str = "8899aabbccddeeff";

    fn key() -> Key {
        ("ns".to_owned(), "one".to_owned())
    }

    fn known(uid: &str, id: &str, epoch: u32) -> WorkspaceView {
        WorkspaceView {
            namespace: "ns".into(),
            name: "one".into(),
            uid: uid.into(),
            id: id.parse().ok(),
            epoch: Epoch(epoch),
            phase: None,
            not_ready: None,
            deleting: false,
            user: "dev".into(),
        }
    }

    fn standing(objects: &Known, id: &str) -> Standing {
        objects.standing(id.parse().unwrap())
    }

    #[test]
    fn a_body_is_present_until_its_workspace_goes() {
        let objects = Known::default();
        assert_eq!(standing(&objects, FIRST), Standing::Unknown);
        assert_eq!(objects.workspace_changed(key(), known("a", FIRST, 1), Change::Present), None);
        assert_eq!(standing(&objects, FIRST), Standing::Present(Epoch(1)));
        objects.workspace_changed(key(), known("a", FIRST, 2), Change::Present);
        assert_eq!(standing(&objects, FIRST), Standing::Present(Epoch(2)));
        let mut deleting = known("a", FIRST, 2);
        deleting.deleting = true;
        assert_eq!(objects.workspace_changed(key(), deleting, Change::Present), FIRST.parse().ok());
        assert_eq!(standing(&objects, FIRST), Standing::Gone);
        objects.workspace_changed(key(), known("a", FIRST, 2), Change::Gone);
        assert_eq!(standing(&objects, FIRST), Standing::Gone);
    }

    #[test]
    fn a_namesake_has_a_body_of_its_own() {
        let objects = Known::default();
        objects.workspace_changed(key(), known("a", FIRST, 1), Change::Present);
        let closed = objects.workspace_changed(key(), known("b", SECOND, 1), Change::Present);
        assert_eq!(closed, FIRST.parse().ok());
        assert_eq!(standing(&objects, FIRST), Standing::Gone);
        assert_eq!(standing(&objects, SECOND), Standing::Present(Epoch(1)));
    }

    #[tokio::test]
    async fn what_a_new_list_lacks_is_gone() {
        let workspace = Workspace::new("one", crate::api::WorkspaceSpec::default());
        let events = vec![
            Ok(watcher::Event::Init),
            Ok(watcher::Event::InitApply(workspace)),
            Ok(watcher::Event::InitDone),
            Ok(watcher::Event::Init),
            Ok(watcher::Event::InitDone),
        ];
        let mut told = Vec::new();
        let mut tell = |key: Key, _: WorkspaceView, change| told.push((key.1, change));
        follow_events(futures::stream::iter(events), &mut tell).await;
        assert_eq!(told, [("one".to_owned(), Change::Present), ("one".to_owned(), Change::Gone)]);
    }
}
