//! How many calls a node gets at the same time.
//!
//! A node answers most calls with three workers, and a call that waits for a container's lock
//! keeps one of them for ten seconds. So there is one call at a time for each container, and a
//! worker is always left for others.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{NodeName, VmId, call::Worker};

/// Calls at the same time for one node.
const WORKERS: usize = 2;

/// Who may call now.
#[derive(Default)]
pub(super) struct Gates {
    nodes: Gate<NodeName>,
    containers: Gate<VmId>,
}

/// Leave to call, as long as it lives.
pub(super) struct Leave {
    _node: OwnedSemaphorePermit,
    _container: Option<OwnedSemaphorePermit>,
}

impl Gates {
    /// Waits for leave to keep a worker busy. The container first: who waits for it must not keep
    /// the node from others.
    pub(super) async fn enter(&self, worker: &Worker) -> Result<Leave, AcquireError> {
        let container = match worker.container {
            Some(container) => Some(self.containers.of(container, 1).acquire_owned().await?),
            None => None,
        };
        let node = self.nodes.of(worker.node.clone(), WORKERS).acquire_owned().await?;
        Ok(Leave { _node: node, _container: container })
    }
}

/// One semaphore for each name that somebody holds or waits for.
struct Gate<Name>(Mutex<HashMap<Name, Weak<Semaphore>>>);

impl<Name> Default for Gate<Name> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Name: Eq + Hash> Gate<Name> {
    fn of(&self, name: Name, places: usize) -> Arc<Semaphore> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = gates.get(&name).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(Semaphore::new(places));
        gates.insert(name, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn worker(node: &str, container: Option<u32>) -> Worker {
        Worker { node: node.parse().unwrap(), container: container.and_then(VmId::new) }
    }

    #[test]
    fn a_container_has_one_call_at_a_time_and_a_node_two() {
        let gates = Gates::default();
        let enter = |node, container| {
            let worker = worker(node, container);
            gates.enter(&worker).now_or_never().map(Result::unwrap)
        };
        let first = enter("pve1", Some(105)).unwrap();
        assert!(enter("pve1", Some(105)).is_none());
        let second = enter("pve1", Some(106)).unwrap();
        assert!(enter("pve1", Some(107)).is_none(), "a third on the node");
        assert!(enter("pve1", None).is_none(), "a third on the node");
        assert!(enter("pve2", Some(108)).is_some());
        drop(second);
        assert!(enter("pve1", Some(107)).is_some());
        drop(first);
        assert!(enter("pve1", Some(105)).is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let gates = Gates::default();
        for container in 100..200 {
            assert!(gates.enter(&worker("pve1", Some(container))).now_or_never().is_some());
        }
        assert_eq!(gates.containers.0.lock().unwrap().len(), 1);
    }
}
