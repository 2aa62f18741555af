//! How often one identity may do things of one class.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use super::{
    identity::Identity,
    operation::Class,
    problem::{Problem, Reason},
};
use crate::config::RatesConfig;

/// So many checks lie between two sweeps of limits that nobody comes near any more.
const SWEEP_EVERY: u32 = 1_000;

/// How often things may be done in a minute, all of them at once if so wanted. Absent: without
/// limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Starts, stops and restarts of one identity.
    pub lifecycle: Option<NonZeroU32>,
    /// Commands, terminals and connections of one identity.
    pub exec: Option<NonZeroU32>,
    /// Requests of one identity that read or write files or the repository.
    pub files: Option<NonZeroU32>,
    /// Requests of one identity that only look.
    pub read: Option<NonZeroU32>,
    /// Tokens from one address that are no good.
    pub log_in: Option<NonZeroU32>,
}

impl Default for Rates {
    fn default() -> Self {
        Self::from(&RatesConfig::default())
    }
}

impl From<&RatesConfig> for Rates {
    fn from(config: &RatesConfig) -> Self {
        Self {
            lifecycle: NonZeroU32::new(config.lifecycle),
            exec: NonZeroU32::new(config.exec),
            files: NonZeroU32::new(config.files),
            read: NonZeroU32::new(config.read),
            log_in: NonZeroU32::new(config.log_in),
        }
    }
}

/// The limits, with what was used of them.
pub struct RateLimits {
    lifecycle: Limit<String>,
    exec: Limit<String>,
    files: Limit<String>,
    read: Limit<String>,
    log_in: Limit<IpAddr>,
    shut_out: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimits {
    /// Nothing used yet.
    pub fn new(rates: Rates) -> Self {
        Self {
            lifecycle: Limit::new(rates.lifecycle),
            exec: Limit::new(rates.exec),
            files: Limit::new(rates.files),
            read: Limit::new(rates.read),
            log_in: Limit::new(rates.log_in),
            shut_out: Mutex::default(),
        }
    }

    /// Counts an operation.
    pub fn operation(&self, class: Class, identity: &Identity) -> Result<(), Problem> {
        let limit = match class {
            Class::Lifecycle => &self.lifecycle,
            Class::Exec => &self.exec,
            Class::Files => &self.files,
            Class::Read => &self.read,
            Class::Traffic => return Ok(()),
        };
        limit.check(&identity.user)
    }

    /// Refuses an address that has just shown too many tokens that are no good. Tokens that are
    /// good count for nothing, since many people may come from one address.
    pub fn log_in(&self, address: IpAddr) -> Result<(), Problem> {
        let shut_out = self.shut_out.lock().unwrap_or_else(PoisonError::into_inner);
        match shut_out.get(&address).and_then(|until| until.checked_duration_since(Instant::now())) {
            Some(wait) => Err(too_many(wait)),
            None => Ok(()),
        }
    }

    /// Counts a token that is no good.
    pub fn failed_log_in(&self, address: IpAddr) {
        let Err(wait) = self.log_in.wait(&address) else { return };
        let now = Instant::now();
        let mut shut_out = self.shut_out.lock().unwrap_or_else(PoisonError::into_inner);
        shut_out.retain(|_, until| now < *until);
        shut_out.insert(address, now + wait);
    }
}

fn too_many(wait: Duration) -> Problem {
    Problem::new(Reason::TooManyRequests, "too many requests of this kind in too short a time")
        .retry_after(wait.max(Duration::from_secs(1)))
}

struct Limit<K: Clone + Eq + Hash> {
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    checks: AtomicU32,
}

impl<K: Clone + Eq + Hash> Limit<K> {
    fn new(a_minute: Option<NonZeroU32>) -> Self {
        let limiter = a_minute.map(|rate| RateLimiter::keyed(Quota::per_minute(rate)));
        Self { limiter, checks: AtomicU32::new(0) }
    }

    fn check(&self, key: &K) -> Result<(), Problem> {
        self.wait(key).map_err(too_many)
    }

    /// Counts, or says how long to wait.
    fn wait(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str) -> Identity {
        Identity { user: user.to_owned(), ..Identity::default() }
    }

    #[test]
    fn who_asks_too_often_waits_and_nobody_else_does() {
        let limits = RateLimits::new(Rates::default());
        for _ in 0..10 {
            limits.operation(Class::Lifecycle, &identity("ada")).unwrap();
        }
        let refused = limits.operation(Class::Lifecycle, &identity("ada")).unwrap_err();
        assert_eq!(refused.reason, Reason::TooManyRequests);
        let wait = refused.retry_after.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(6), "{wait:?}");
        limits.operation(Class::Lifecycle, &identity("bob")).unwrap();
        limits.operation(Class::Files, &identity("ada")).unwrap();
    }

    #[test]
    fn pages_of_an_application_are_not_counted() {
        let one = NonZeroU32::new(1);
        let rates = Rates { lifecycle: one, exec: one, files: one, read: one, log_in: one };
        let limits = RateLimits::new(rates);
        for _ in 0..100 {
            limits.operation(Class::Traffic, &identity("ada")).unwrap();
        }
    }

    #[test]
    fn an_address_can_not_guess_tokens_for_ever() {
        let limits = RateLimits::new(Rates { log_in: NonZeroU32::new(2), ..Rates::default() });
        let (guesser, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..2 {
            limits.failed_log_in(guesser);
            limits.log_in(guesser).unwrap();
        }
        limits.failed_log_in(guesser);
        assert_eq!(limits.log_in(guesser).unwrap_err().reason, Reason::TooManyRequests);
        limits.log_in(other).unwrap();
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let limits = RateLimits::new(Rates { exec: None, ..Rates::default() });
        for _ in 0..1_000 {
            limits.operation(Class::Exec, &identity("ada")).unwrap();
        }
    }
}
