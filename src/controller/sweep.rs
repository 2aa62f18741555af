//! The sweep: carries out what the ledger says is left to do, and looks for things on the
//! backends that carry this instance's mark but belong to no Workspace and no Template.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Api;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Template, Workspace},
    backend::{Backend, BackendError, BodyId, BodyRef, ContainerName, ItemKind, OwnedItem, Owner},
    config::OrphanPolicy,
};

use super::{backoff::with_jitter, context::Context, ledger::Entry};

/// Sweeps at once, then at the configured interval and whenever a host comes back.
pub async fn run(
    context: Arc<Context>,
    mut host_back: tokio::sync::mpsc::Receiver<()>,
    stop: CancellationToken,
) {
    let mut sweep = Sweep { context, first_seen: HashMap::new() };
    loop {
        sweep.ledger().await;
        sweep.orphans().await;
        let interval = with_jitter(sweep.context.config.orphans.interval.0);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
            Some(()) = host_back.recv() => {}
        }
    }
}

struct Sweep {
    context: Arc<Context>,
    /// Since when each orphan has been one.
    first_seen: HashMap<(String, String, BodyId), Instant>,
}

impl Sweep {
    async fn ledger(&self) {
        let entries = match self.context.ledger.entries().await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the ledger can not be read");
                return;
            }
        };
        self.context.metrics.ledger_entries(entries.len());
        for entry in entries {
            match self.settle(&entry).await {
                Ok(()) => match self.context.ledger.done(&entry).await {
                    Ok(()) => tracing::info!(owner = %entry.owner, "removed what a deletion had left behind"),
                    Err(error) => tracing::warn!(%error, "an entry of the ledger could not be struck out"),
                },
                Err(error) => {
                    tracing::info!(owner = %entry.owner, %error, "an entry of the ledger is still to do")
                }
            }
        }
    }

    /// Removes containers and network of an entry; its volumes stay, unless everything is to go.
    async fn settle(&self, entry: &Entry) -> Result<(), BackendError> {
        let id = entry.id.as_ref().and_then(|id| id.parse::<BodyId>().ok());
        if let (Some(id), Some(backend), Some(host)) = (id, &entry.backend, &entry.host) {
            let Some(backend) = self.context.backends.get(backend) else {
                tracing::warn!(backend, owner = %entry.owner, "the ledger names a backend that is no longer configured");
                return Err(BackendError::new(
                    crate::backend::Reason::Unreachable,
                    "the backend is not configured",
                ));
            };
            let body = BodyRef {
                host: host.clone(),
                id,
                owner: entry.owner.clone(),
                known: crate::backend::Known { number: entry.number, host_key: None },
            };
            return backend.remove(&body, !entry.everything).await;
        }
        for backend in self.context.backends.values() {
            for found in backend.find(&entry.owner).await? {
                backend.remove(&found.body, !entry.everything).await?;
            }
        }
        Ok(())
    }

    async fn orphans(&mut self) {
        let mut counts: HashMap<(String, ItemKind), i64> = HashMap::new();
        let mut present = HashSet::new();
        let backends = self.context.backends.clone();
        for (name, backend) in &backends {
            for kind in [ItemKind::Container, ItemKind::Network, ItemKind::Volume] {
                counts.insert((name.clone(), kind), 0);
            }
            for host in backend.hosts().into_iter().filter(|host| host.unreachable.is_none()) {
                // What is listed before the objects are read can only be missing there if its
                // object is gone, since ids are written before anything is made.
                let Ok(items) = backend.list(&host.name).await else { continue };
                let known = self.known_ids();
                for item in items.into_iter().filter(|item| !known.contains(&item.id)) {
                    *counts.entry((name.clone(), item.kind)).or_default() += 1;
                    let key = (name.clone(), host.name.clone(), item.id);
                    present.insert(key.clone());
                    let since = *self.first_seen.entry(key).or_insert_with(|| {
                        tracing::warn!(backend = name, host = host.name, kind = %item.kind, item = item.name, "belongs to no Workspace or Template");
                        Instant::now()
                    });
                    self.consider(backend.as_ref(), &host.name, &item, since.elapsed()).await;
                }
            }
        }
        self.first_seen.retain(|key, _| present.contains(key));
        for ((backend, kind), count) in counts {
            self.context.metrics.orphans(&backend, kind, count);
        }
    }

    fn known_ids(&self) -> HashSet<BodyId> {
        let (workspaces, templates) = (self.context.objects.workspaces(), self.context.objects.templates());
        let of_workspaces = workspaces.iter().filter_map(|one| one.status.as_ref()?.id.as_ref());
        let of_templates =
            templates.iter().filter_map(|one| one.status.as_ref()?.proxmox.as_ref()?.id.as_ref());
        of_workspaces.chain(of_templates).filter_map(|id| id.parse().ok()).collect()
    }

    /// Removes an orphan's container and network where that is wanted and its time has come.
    async fn consider(&self, backend: &dyn Backend, host: &str, item: &OwnedItem, age: Duration) {
        let orphans = &self.context.config.orphans;
        if orphans.policy != OrphanPolicy::Delete || age < orphans.grace.0 || item.kind == ItemKind::Volume {
            return;
        }
        let owner = owner_of(item);
        if item.kind == ItemKind::Container && self.may_exist(&owner).await {
            return;
        }
        let body = BodyRef { host: host.to_owned(), id: item.id, owner, known: item.known.clone() };
        match backend.remove(&body, true).await {
            Ok(()) => {
                tracing::warn!(host, kind = %item.kind, item = item.name, "removed: it belonged to no Workspace or Template")
            }
            Err(error) => tracing::warn!(host, item = item.name, %error, "an orphan could not be removed"),
        }
    }

    /// Whether a Workspace or Template of this name exists, or may: its namespace may be one that is
    /// not watched, and a status may have been lost.
    async fn may_exist(&self, owner: &Owner) -> bool {
        let client = &self.context.client;
        let workspaces: Api<Workspace> = Api::namespaced(client.clone(), &owner.namespace);
        let templates: Api<Template> = Api::namespaced(client.clone(), &owner.namespace);
        let neither = matches!(
            futures::join!(workspaces.get_opt(&owner.name), templates.get_opt(&owner.name)),
            (Ok(None), Ok(None))
        );
        if !neither {
            tracing::debug!(%owner, "an orphan's name is in use, or may be; it is left alone");
        }
        !neither
    }
}

/// The owner, else as far as the name tells; enough for the check of the mark, which compares names
/// then.
fn owner_of(item: &OwnedItem) -> Owner {
    if let Some(owner) = &item.owner {
        return owner.clone();
    }
    let owner = item.name.parse::<ContainerName>().map(|name| name.owner).unwrap_or_default();
    let (namespace, name) = owner.split_once('.').unwrap_or_default();
    Owner { namespace: namespace.to_owned(), name: name.to_owned(), uid: String::new() }
}
