//! The Workspaces as a gateway knows them: few words of each, from a watch of its own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock},
};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};

use crate::{
    api::Workspace,
    backend::BodyId,
    link::{
        accept::{Owners, Standing},
        token::Epoch,
    },
};

/// Bodies of deleted workspaces that are remembered, to tell their agents not to come back.
const TOMBSTONES: usize = 100_000;

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

impl WorkspaceView {
    fn of(workspace: &Workspace) -> Self {
        let status = workspace.status.as_ref();
        let ready = status.and_then(|status| {
            status.conditions.iter().find(|one| one.type_ == crate::api::condition::READY)
        });
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

/// The Workspaces as a gateway knows them.
#[derive(Default)]
pub struct Workspaces {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<(String, String), Arc<WorkspaceView>>,
    by_id: HashMap<BodyId, Arc<WorkspaceView>>,
    gone: HashMap<BodyId, ()>,
    gone_in_order: VecDeque<BodyId>,
}

impl Known {
    fn put(&mut self, view: WorkspaceView) {
        let key = (view.namespace.clone(), view.name.clone());
        let view = Arc::new(view);
        let before = self.by_name.insert(key, Arc::clone(&view));
        if let Some(before) = before
            && before.uid != view.uid
        {
            self.bury(&before);
        }
        if let Some(id) = view.id {
            self.by_id.insert(id, view);
        }
    }

    fn remove(&mut self, view: &WorkspaceView) {
        self.by_name.remove(&(view.namespace.clone(), view.name.clone()));
        self.bury(view);
    }

    fn bury(&mut self, view: &WorkspaceView) {
        let Some(id) = view.id else { return };
        self.by_id.remove(&id);
        if self.gone.insert(id, ()).is_none() {
            self.gone_in_order.push_back(id);
        }
        if self.gone_in_order.len() > TOMBSTONES
            && let Some(oldest) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }
}

impl Workspaces {
    /// By namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(&key).cloned()
    }

    /// By body.
    pub fn of_body(&self, id: BodyId) -> Option<Arc<WorkspaceView>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Takes over what the API server shows, for ever. `changed` is told of every Workspace that
    /// came, changed or went.
    pub async fn watch(
        &self,
        client: Client,
        namespace: Option<&str>,
        changed: impl Fn(&WorkspaceView, bool),
    ) {
        let api: Api<Workspace> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let stream = watcher(api, watcher::Config::default().page_size(500)).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(workspace)) => self.apply(&workspace, &changed),
                Ok(watcher::Event::Delete(workspace)) => {
                    self.delete(&WorkspaceView::of(&workspace), &changed)
                }
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(workspace)) => {
                    listed.push((workspace.namespace().unwrap_or_default(), workspace.name_any()));
                    self.apply(&workspace, &changed);
                }
                Ok(watcher::Event::InitDone) => {
                    self.keep_only(namespace, &std::mem::take(&mut listed), &changed)
                }
                Err(error) => tracing::warn!(%error, "watching Workspaces failed"),
            }
        }
    }

    fn apply(&self, workspace: &Workspace, changed: &impl Fn(&WorkspaceView, bool)) {
        let view = WorkspaceView::of(workspace);
        self.known.write().unwrap_or_else(PoisonError::into_inner).put(view.clone());
        changed(&view, !view.deleting);
    }

    fn delete(&self, view: &WorkspaceView, changed: &impl Fn(&WorkspaceView, bool)) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(view);
        changed(view, false);
    }

    /// What a new list no longer holds went while nobody watched.
    fn keep_only(
        &self,
        namespace: Option<&str>,
        listed: &[(String, String)],
        changed: &impl Fn(&WorkspaceView, bool),
    ) {
        let listed: std::collections::HashSet<_> = listed.iter().collect();
        let missing: Vec<_> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known
                .by_name
                .iter()
                .filter(|(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
                .filter(|(key, _)| !listed.contains(key))
                .map(|(_, view)| Arc::clone(view))
                .collect()
        };
        for view in missing {
            self.delete(&view, changed);
        }
    }
}

impl Owners for Workspaces {
    fn standing(&self, id: BodyId) -> Standing {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.by_id.get(&id) {
            Some(view) if view.deleting => Standing::Gone,
            Some(view) => Standing::Present(view.epoch),
            None if known.gone.contains_key(&id) => Standing::Gone,
            None => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(uid: &str, id: &str, incarnation: u32) -> WorkspaceView {
        WorkspaceView {
            namespace: "ns".into(),
            name: "one".into(),
            uid: uid.into(),
            id: Some(id.parse().unwrap()),
            epoch: Epoch(incarnation),
            phase: None,
            not_ready: None,
            deleting: false,
            user: "dev".into(),
        }
    }

    const FIRST: &str = "0011223344556677";
    const SECOND: &str = "8899aabbccddeeff";

    #[test]
    fn a_body_is_present_until_its_workspace_goes() {
        let workspaces = Workspaces::default();
        let standing = || workspaces.standing(FIRST.parse().unwrap());
        assert_eq!(standing(), Standing::Unknown);
        workspaces.known.write().unwrap().put(view("a", FIRST, 1));
        assert_eq!(standing(), Standing::Present(Epoch(1)));
        workspaces.known.write().unwrap().put(view("a", FIRST, 2));
        assert_eq!(standing(), Standing::Present(Epoch(2)));
        workspaces.known.write().unwrap().put(WorkspaceView { deleting: true, ..view("a", FIRST, 2) });
        assert_eq!(standing(), Standing::Gone);
        workspaces.known.write().unwrap().remove(&view("a", FIRST, 2));
        assert_eq!(standing(), Standing::Gone);
    }

    #[test]
    fn a_namesake_has_a_body_of_its_own() {
        let workspaces = Workspaces::default();
        workspaces.known.write().unwrap().put(view("a", FIRST, 1));
        workspaces.known.write().unwrap().put(view("b", SECOND, 1));
        assert_eq!(workspaces.standing(FIRST.parse().unwrap()), Standing::Gone);
        assert_eq!(workspaces.standing(SECOND.parse().unwrap()), Standing::Present(Epoch(1)));
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let workspaces = Workspaces::default();
        workspaces.known.write().unwrap().put(view("a", FIRST, 1));
        workspaces.keep_only(Some("other"), &[], &|_, _| {});
        assert_eq!(workspaces.standing(FIRST.parse().unwrap()), Standing::Present(Epoch(1)));
        workspaces.keep_only(None, &[], &|_, _| {});
        assert_eq!(workspaces.standing(FIRST.parse().unwrap()), Standing::Gone);
    }
}
