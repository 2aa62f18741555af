//! One connection for each container or host, kept for as long as it is used.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{
    HostKey, KnownHosts, PrivateKeys, SshError, SshGuest, Target, Trust, connection::Connection, session,
    session::LoggedIn,
};
use crate::backend::BackendError;

/// Time for the first attempt to log in; each further one has twice as long, up to the time limit.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);
/// What is left of the time limit is not worth an attempt if it is less.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

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
        let ways = Arc::new(Ways { settings, by_name: Mutex::default() });
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
        self.open(self.ways.to(container, target, Accepted::pinned(expected))).await
    }

    /// Opens a host whose keys are in a file of OpenSSH's `known_hosts` format.
    pub(super) async fn listed(&self, target: &Target, known_hosts: &Path) -> Result<SshGuest, BackendError> {
        let accepted = Accepted::Listed(known_hosts.to_owned());
        self.open(self.ways.to(&target.to_string(), target, accepted)).await
    }

    async fn open(&self, way: Arc<Way>) -> Result<SshGuest, BackendError> {
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
    by_name: Mutex<HashMap<String, Arc<Way>>>,
}

impl Ways {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Way>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to(&self, name: &str, target: &Target, accepted: Accepted) -> Arc<Way> {
        let mut ways = self.lock();
        if let Some(way) = ways.get(name).filter(|way| way.serves(target, &accepted)) {
            return Arc::clone(way);
        }
        let way = Arc::new(Way {
            settings: self.settings.clone(),
            target: target.clone(),
            accepted,
            connection: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        });
        ways.insert(name.to_owned(), Arc::clone(&way));
        way
    }
}

/// Which host keys are accepted at the end of a way.
enum Accepted {
    /// One. It is set by the first connection where it was not known.
    Pinned(OnceLock<HostKey>),
    /// Those in a file of OpenSSH's `known_hosts` format.
    Listed(PathBuf),
}

impl Accepted {
    fn pinned(expected: Option<HostKey>) -> Self {
        Self::Pinned(expected.map_or_else(OnceLock::new, OnceLock::from))
    }

    fn trust(&self, target: &Target) -> Result<Trust, SshError> {
        Ok(match self {
            Self::Pinned(key) => key.get().cloned().map_or(Trust::FirstUse, Trust::Pinned),
            Self::Listed(file) => Trust::Listed(
                KnownHosts::read(file, &target.host, target.port).map_err(SshError::KnownHosts)?,
            ),
        })
    }
}

/// The way to one container or host.
pub(super) struct Way {
    settings: Settings,
    target: Target,
    accepted: Accepted,
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
        let connection = Arc::new(self.connect().await.map_err(|error| error.at(&self.target))?);
        *shared = Some(Arc::clone(&connection));
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, SshError> {
        let logged_in = self.log_in().await?;
        if let Accepted::Pinned(key) = &self.accepted {
            key.get_or_init(|| logged_in.host_key.clone());
        }
        Ok(Connection::new(logged_in))
    }

    /// Logs in, with several attempts within the time limit: a container that boots may take a
    /// connection and never answer on it, while the next one is answered at once.
    async fn log_in(&self) -> Result<LoggedIn, SshError> {
        let Settings { keys, connect_timeout, .. } = &self.settings;
        let deadline = Instant::now() + *connect_timeout;
        let mut limit = FIRST_ATTEMPT.min(*connect_timeout);
        loop {
            let trust = self.accepted.trust(&self.target)?;
            let result = session::log_in(&self.target, keys, trust, limit).await;
            let left = deadline.saturating_duration_since(Instant::now());
            limit = left.min(limit * 2);
            if !matches!(result, Err(SshError::Slow(_))) || limit < SHORTEST_ATTEMPT {
                return result;
            }
        }
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
    fn serves(&self, target: &Target, accepted: &Accepted) -> bool {
        let is_open = || match self.connection.try_lock() {
            Ok(shared) => shared.as_ref().is_some_and(|connection| !connection.is_closed()),
            // Somebody is connecting.
            Err(_) => true,
        };
        let same_keys = match (&self.accepted, accepted) {
            (Accepted::Pinned(pinned), Accepted::Pinned(expected)) => match expected.get() {
                Some(expected) => pinned.get() == Some(expected),
                None => is_open(),
            },
            (Accepted::Listed(own), Accepted::Listed(wanted)) => own == wanted,
            _ => false,
        };
        self.target == *target && same_keys
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
