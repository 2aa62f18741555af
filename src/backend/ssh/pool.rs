//! One connection for each container, kept for as long as it is used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{HostKey, PrivateKeys, SshGuest, Target, Trust, connection::Connection, session};
use crate::backend::BackendError;

/// How guests are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's keys.
    pub keys: PrivateKeys,
    /// From the first packet to a session that can be used.
    pub connect_timeout: Duration,
    /// A connection that was not used for so long is closed.
    pub idle_timeout: Duration,
}

/// The connections to a backend's containers. They close with the pool.
pub struct Pool {
    ways: Arc<Ways>,
    _sweeping: AbortOnDropHandle<()>,
}

impl Pool {
    /// A pool without connections. Has to be called within a Tokio runtime.
    pub fn new(settings: Settings) -> Self {
        let idle_timeout = settings.idle_timeout;
        let ways = Arc::new(Ways { settings, by_container: Mutex::default() });
        let sweeping = sweep(Arc::downgrade(&ways), idle_timeout);
        Self { ways, _sweeping: AbortOnDropHandle::new(sweeping) }
    }

    /// Opens the inside of a container, whose name tells it from all others, also from those that
    /// had its address before. `expected` is the host key that was seen at the first time; without
    /// it whatever key is shown is trusted, and is to be remembered: see [`SshGuest::seen`].
    pub async fn guest(
        &self,
        container: &str,
        target: &Target,
        expected: Option<HostKey>,
    ) -> Result<SshGuest, BackendError> {
        let way = self.ways.to(container, target, expected);
        let connection = way.connection().await?;
        Ok(SshGuest::new(way, connection.host_key().clone()))
    }

    /// How many containers have a connection, or had one not long ago.
    pub fn len(&self) -> usize {
        self.ways.lock().len()
    }

    /// Whether no container has a connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn sweep(ways: Weak<Ways>, idle_timeout: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(idle_timeout / 2).await;
            let Some(ways) = ways.upgrade() else { return };
            ways.lock().retain(|_, way| !way.is_idle(idle_timeout));
        }
    })
}

struct Ways {
    settings: Settings,
    by_container: Mutex<HashMap<String, Arc<Way>>>,
}

impl Ways {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Way>>> {
        self.by_container.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to(&self, container: &str, target: &Target, expected: Option<HostKey>) -> Arc<Way> {
        let mut ways = self.lock();
        if let Some(way) = ways.get(container).filter(|way| way.serves(target, expected.as_ref())) {
            return Arc::clone(way);
        }
        let way = Arc::new(Way {
            settings: self.settings.clone(),
            target: target.clone(),
            pinned: expected.map_or_else(OnceLock::new, OnceLock::from),
            connection: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        });
        ways.insert(container.to_owned(), Arc::clone(&way));
        way
    }
}

/// The way to one container.
pub(super) struct Way {
    settings: Settings,
    target: Target,
    /// The host key that is expected. It is set by the first connection where it was not known.
    pinned: OnceLock<HostKey>,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    used: Mutex<Instant>,
}

impl Way {
    /// Where it leads.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The connection that is open, else a new one.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, BackendError> {
        self.touch();
        let mut shared = self.connection.lock().await;
        if let Some(connection) = shared.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let trust = self.pinned.get().cloned().map_or(Trust::FirstUse, Trust::Pinned);
        let Settings { keys, connect_timeout, .. } = &self.settings;
        let logged_in = session::log_in(&self.target, keys, trust, *connect_timeout)
            .await
            .map_err(|error| error.at(&self.target))?;
        let connection = Arc::new(Connection::new(logged_in));
        self.pinned.get_or_init(|| connection.host_key().clone());
        *shared = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Gives up a connection that turned out to be dead.
    pub(super) async fn abandon(&self, dead: &Arc<Connection>) {
        let mut shared = self.connection.lock().await;
        if shared.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, dead)) {
            *shared = None;
        }
    }

    /// Notes that it is in use.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A way on which nobody knows a key yet serves the second who asks for the first time, but a
    /// key that was seen and forgotten on purpose is asked for anew.
    fn serves(&self, target: &Target, expected: Option<&HostKey>) -> bool {
        let is_open = || match self.connection.try_lock() {
            Ok(shared) => shared.as_ref().is_some_and(|connection| !connection.is_closed()),
            // Somebody is connecting.
            Err(_) => true,
        };
        let same_key = match expected {
            Some(expected) => self.pinned.get() == Some(expected),
            None => is_open(),
        };
        self.target == *target && same_key
    }

    /// Whether no command runs on it, and none did for this time.
    fn is_idle(&self, time: Duration) -> bool {
        let unused = self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= time;
        let busy = match self.connection.try_lock() {
            Ok(shared) => shared.as_ref().is_some_and(|connection| Arc::strong_count(connection) > 1),
            Err(_) => true,
        };
        unused && !busy
    }
}
