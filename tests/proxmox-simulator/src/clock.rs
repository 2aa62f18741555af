//! How long a real cluster's minutes take here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two scales: for work that only takes its time, and for how long one waits for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Multiplies how long work takes: tasks, the tick of `/cluster/resources`, the delay of a 401.
    pub work: f64,
    /// Multiplies how long one waits: for locks, for another daemon, for a guest to shut down.
    pub patience: f64,
}

impl Clock {
    /// How long work of this many real seconds takes.
    pub fn work(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.work).unwrap_or_default()
    }

    /// How long one waits where a real cluster waits this many seconds.
    pub fn patience(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.patience).unwrap_or_default()
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
