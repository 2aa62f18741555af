//! Work that takes longer than a reconcile may: image pulls, stops, looks at running jobs.
//!
//! A task is started, looked at by later passes, and triggers the object's next pass when it
//! ends. Tasks live in this process alone; after a restart the plan finds out anew what is to be
//! done, so every task must be safe to start again.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use super::trigger::{Trigger, Triggers};
use crate::backend::Report;

/// What a task is for: at most one of each kind runs for an object at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TaskKind {
    /// Making the image available on the host.
    PrepareImage,
    /// Making the container.
    Create,
    /// Stopping the container.
    Stop,
    /// Removing everything of an object.
    Remove,
    /// Waiting for the clone job to end.
    WatchClone,
    /// Waiting for the job to end that makes a container fit for a template.
    WatchProvisioning,
    /// Taking out of a container what must not be shared.
    Clean,
    /// Making a template of a container.
    Convert,
}

/// How a task stands.
#[derive(Debug)]
pub enum TaskState<T> {
    /// It runs, and says how far it is; nothing at all, where it has not said anything yet.
    Running(Report),
    /// It has ended, and is forgotten by being looked at.
    Done(T),
}

struct Task<T> {
    handle: JoinHandle<()>,
    progress: watch::Receiver<Report>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The tasks of all objects, by object and kind. Dropping it ends them.
pub struct Tasks<T> {
    running: Mutex<HashMap<(String, TaskKind), Task<T>>>,
    triggers: Triggers,
}

impl<T: Send + 'static> Tasks<T> {
    /// An empty set; ended tasks trigger their object there.
    pub fn new(triggers: Triggers) -> Self {
        Self { running: Mutex::default(), triggers }
    }

    /// Starts the task unless it runs already, waits up to `patience` for it to end, and says how
    /// it stands.
    pub async fn run<F, Fut>(
        &self,
        uid: &str,
        kind: TaskKind,
        object: impl Into<Trigger>,
        patience: Duration,
        start: F,
    ) -> TaskState<T>
    where
        F: FnOnce(watch::Sender<Report>) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        let key = (uid.to_owned(), kind);
        let mut ended = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let task = running.entry(key.clone()).or_insert_with(|| self.spawn(object.into(), start));
            task.progress.clone()
        };
        // The sender is dropped with the task's end, which ends the wait.
        let wait = async { while ended.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(patience, wait).await;
        self.look(&key)
    }

    /// Whether a task of this kind runs or waits to be looked at.
    pub fn is_running(&self, uid: &str, kind: TaskKind) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.contains_key(&(uid.to_owned(), kind))
    }

    /// Ends every task of an object.
    pub fn cancel(&self, uid: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(owner, _), _| owner != uid);
    }

    fn spawn<F, Fut>(&self, object: Trigger, start: F) -> Task<T>
    where
        F: FnOnce(watch::Sender<Report>) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        let (sender, progress) = watch::channel(Report::default());
        let result = Arc::new(Mutex::new(None));
        let work = start(sender.clone());
        let (slot, triggers) = (Arc::clone(&result), self.triggers.clone());
        let handle = tokio::spawn(async move {
            let value = work.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            drop(sender);
            triggers.send(object);
        });
        Task { handle, progress, result }
    }

    fn look(&self, key: &(String, TaskKind)) -> TaskState<T> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(task) = running.get(key) else { return TaskState::Running(Report::default()) };
        let value = task.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match value {
            Some(value) => {
                running.remove(key);
                TaskState::Done(value)
            }
            None if task.handle.is_finished() => {
                // It panicked: forget it, so that the next pass starts it again.
                running.remove(key);
                TaskState::Running(Report::default())
            }
            None => TaskState::Running(task.progress.borrow().clone()),
        }
    }
}
