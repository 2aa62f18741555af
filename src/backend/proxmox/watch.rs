//! Looking at the cluster at intervals, and telling what changed.

use std::sync::Arc;

use tokio::{sync::broadcast, time::sleep};

use super::{cluster::Cluster, look::Look};
use crate::backend::Change;

/// Looks until the backend is dropped. All workspaces share these looks.
pub(super) async fn watch(cluster: Arc<Cluster>, changes: broadcast::Sender<Change>) {
    loop {
        let before = cluster.look.borrow().clone();
        let look = match cluster.look_now().await {
            Ok(look) => look,
            // What was there is there still, as far as is known.
            Err(error) => Look { failure: Some(error.message), ..before.clone() },
        };
        for change in news(&before, &look, &cluster) {
            let _ = changes.send(change);
        }
        cluster.look.send_replace(look);
        sleep(cluster.config.poll_interval.0).await;
    }
}

fn news(before: &Look, look: &Look, cluster: &Cluster) -> Vec<Change> {
    let (then, now) = (before.hosts(&cluster.config.nodes), look.hosts(&cluster.config.nodes));
    let was_well = |name: &str| then.iter().any(|host| host.name == name && host.unreachable.is_none());
    for host in &now {
        match (&host.unreachable, was_well(&host.name)) {
            (Some(why), true) => tracing::warn!(host = host.name, why, "the node does not answer"),
            (None, false) => tracing::info!(host = host.name, "the node answers"),
            _ => {}
        }
    }
    let hosts = now.iter().filter(|host| host.unreachable.is_none() != was_well(&host.name));
    let hosts = hosts.map(|host| Change::Host(host.name.clone()));
    hosts.chain(look.changed_since(before, &cluster.instance).into_iter().map(Change::Body)).collect()
}
