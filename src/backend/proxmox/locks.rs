//! Locks by name: one clone of a template at a time, one change of a container at a time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

/// A lock for each name. None is kept for a name that nobody waits for.
pub(super) struct Locks<Name>(Mutex<HashMap<Name, Weak<tokio::sync::Mutex<()>>>>);

impl<Name> Default for Locks<Name> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Name: Eq + Hash> Locks<Name> {
    /// Waits for the lock of a name. First come, first served.
    pub(super) async fn lock(&self, name: Name) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(name, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_name_is_locked_once() {
        let locks = Locks::default();
        let first = locks.lock(9000).now_or_never().unwrap();
        assert!(locks.lock(9000).now_or_never().is_none());
        assert!(locks.lock(9001).now_or_never().is_some());
        drop(first);
        assert!(locks.lock(9000).now_or_never().is_some());
        assert_eq!(locks.0.lock().unwrap().len(), 1);
    }
}
