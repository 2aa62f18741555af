//! How all processes are, for everybody who wants to see it.

use std::{collections::BTreeMap, sync::Arc};

use berth_link::wire::process::{ProcessId, ProcessState, Processes};
use tokio::sync::watch;

/// The states of all processes.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<watch::Sender<BTreeMap<ProcessId, ProcessState>>>);

impl Board {
    /// Shows how a process is.
    pub fn show(&self, state: ProcessState) {
        self.0.send_if_modified(|states| {
            let changed = states.get(&state.id) != Some(&state);
            if changed {
                states.insert(state.id.clone(), state);
            }
            changed
        });
    }

    /// Takes a process off.
    pub fn forget(&self, id: &ProcessId) {
        self.0.send_if_modified(|states| states.remove(id).is_some());
    }

    /// How they are now.
    pub fn now(&self) -> Processes {
        Processes { processes: self.0.borrow().values().cloned().collect() }
    }

    /// Tells when something has changed.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<ProcessId, ProcessState>> {
        self.0.subscribe()
    }
}
