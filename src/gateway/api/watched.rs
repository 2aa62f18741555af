//! The objects as the gateway's watches know them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use super::objects::{DevServerView, Objects, WorkspaceView};
use crate::{api::DevServer, gateway::objects::Workspaces};

/// Everything that handlers ask for, from watches.
pub struct Watched {
    /// The Workspaces.
    pub workspaces: Arc<Workspaces>,
    /// The DevServers.
    pub devservers: Arc<DevServers>,
}

impl Objects for Watched {
    fn workspace(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        self.workspaces.get(namespace, name)
    }

    fn devserver(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>> {
        self.devservers.get(namespace, name)
    }
}

type Key = (String, String);

/// The DevServers, a few words of each.
#[derive(Default)]
pub struct DevServers {
    known: RwLock<HashMap<Key, Arc<DevServerView>>>,
}

impl DevServers {
    /// By namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Takes over what the API server shows of one namespace or of all, for ever.
    pub async fn watch(&self, client: Client, namespace: Option<&str>) {
        let api: Api<DevServer> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let events = watcher::watcher(api, watcher::Config::default().page_size(500)).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, namespace, &mut listed),
                Err(error) => tracing::warn!(%error, "watching DevServers failed"),
            }
        }
    }

    /// Takes in one event. `listed` gathers what a list holds, so that what went while nobody
    /// watched goes here too.
    fn take(&self, event: Event<DevServer>, namespace: Option<&str>, listed: &mut HashSet<Key>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) => put(&mut known, &object),
            Event::Delete(object) => {
                known.remove(&key(&object));
            }
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object));
                put(&mut known, &object);
            }
            Event::InitDone => {
                let listed = std::mem::take(listed);
                known.retain(|key, _| {
                    namespace.is_some_and(|namespace| key.0 != namespace) || listed.contains(key)
                });
            }
        }
    }
}

fn key(object: &DevServer) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn put(known: &mut HashMap<Key, Arc<DevServerView>>, object: &DevServer) {
    match view(object) {
        Some(view) => known.insert(key(object), Arc::new(view)),
        None => known.remove(&key(object)),
    };
}

/// What handlers need; nothing of an object whose name can be no process's.
fn view(object: &DevServer) -> Option<DevServerView> {
    Some(DevServerView {
        namespace: object.namespace()?,
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        workspace: object.spec.workspace_ref.name.clone(),
        process: object.name_any().parse().ok()?,
        port: object.spec.port,
        deleting: object.metadata.deletion_timestamp.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, port: u16) -> DevServer {
        serde_json::from_value(json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "DevServer",
            "metadata": {"namespace": namespace, "name": name, "uid": "1"},
            "spec": {"workspaceRef": {"name": "web"}, "command": "npm run dev", "port": port},
        }))
        .unwrap()
    }

    fn taken(known: &DevServers, namespace: Option<&str>, events: Vec<Event<DevServer>>) {
        let mut listed = HashSet::new();
        for event in events {
            known.take(event, namespace, &mut listed);
        }
    }

    #[test]
    fn a_dev_server_is_known_while_it_is_there() {
        let known = DevServers::default();
        taken(&known, None, vec![Event::Apply(object("team", "api", 3000))]);
        let view = known.get("team", "api").unwrap();
        assert_eq!((view.workspace.as_str(), view.port), ("web", Some(3000)));
        assert!(known.get("other", "api").is_none());
        taken(&known, None, vec![Event::Delete(object("team", "api", 3000))]);
        assert!(known.get("team", "api").is_none());
    }

    #[test]
    fn a_new_list_replaces_what_was_known_of_its_namespace() {
        let known = DevServers::default();
        let before = [object("team", "api", 1), object("team", "old", 2), object("other", "api", 3)];
        taken(&known, None, before.into_iter().map(Event::Apply).collect());
        let list = vec![Event::Init, Event::InitApply(object("team", "api", 9)), Event::InitDone];
        taken(&known, Some("team"), list);
        assert_eq!(known.get("team", "api").unwrap().port, Some(9));
        assert!(known.get("team", "old").is_none());
        assert!(known.get("other", "api").is_some());
    }
}
