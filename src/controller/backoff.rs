//! How long to wait before an object that failed is tried again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(300);
/// Failures longer ago than this no longer count. It is more than twice the longest delay, so
/// that an object that fails on every try does not start anew.
const FORGET: Duration = Duration::from_secs(900);

struct Entry {
    failures: u32,
    not_before: Instant,
    last_failure: Instant,
    /// What the failure was about: once that changes, waiting makes no sense any more.
    subject: String,
    /// How far the object had come: a failure further on is another failure.
    stage: &'static str,
}

/// Failures in a row by object, with exponential delays from 1 s to 5 min and a fifth of jitter.
#[derive(Default)]
pub struct Backoff {
    entries: Mutex<HashMap<String, Entry>>,
}

impl Backoff {
    /// Notes a failure and says how long to wait.
    pub fn failed(&self, uid: &str, subject: &str, stage: &'static str) -> Duration {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(uid.to_owned()).or_insert_with(|| Entry {
            failures: 0,
            not_before: Instant::now(),
            last_failure: Instant::now(),
            subject: String::new(),
            stage,
        });
        if entry.subject != subject || entry.stage != stage || entry.last_failure.elapsed() > FORGET {
            entry.failures = 0;
            subject.clone_into(&mut entry.subject);
            entry.stage = stage;
        }
        let delay = with_jitter(delay(entry.failures));
        entry.failures = entry.failures.saturating_add(1);
        entry.last_failure = Instant::now();
        entry.not_before = entry.last_failure + delay;
        delay
    }

    /// How often in a row an object has failed at this.
    pub fn failures(&self, uid: &str, subject: &str) -> u32 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(uid).filter(|entry| entry.subject == subject).map_or(0, |entry| entry.failures)
    }

    /// How long an object is still to wait, when what its failure was about is unchanged.
    pub fn remaining(&self, uid: &str, subject: &str) -> Option<Duration> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(uid).filter(|entry| entry.subject == subject)?;
        entry.not_before.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Forgets an object's failures: it is gone, or the world around it changed.
    pub fn clear(&self, uid: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LAST)
}

/// Adds or takes up to a fifth, so that objects that failed together do not come back together.
pub fn with_jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_end_at_five_minutes() {
        let seconds: Vec<u64> = (0..12).map(|failures| delay(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(delay(40).as_secs(), 300);
    }

    #[test]
    fn a_failure_further_on_counts_anew() {
        let backoff = Backoff::default();
        backoff.failed("uid", "generation 1", "Creating");
        backoff.failed("uid", "generation 1", "Creating");
        assert_eq!(backoff.failures("uid", "generation 1"), 2);
        backoff.failed("uid", "generation 1", "Starting");
        assert_eq!(backoff.failures("uid", "generation 1"), 1);
    }

    #[test]
    fn a_changed_subject_ends_the_wait() {
        let backoff = Backoff::default();
        backoff.failed("uid", "generation 1", "Cloning");
        assert!(backoff.remaining("uid", "generation 1").is_some());
        assert!(backoff.remaining("uid", "generation 2").is_none());
        backoff.clear("uid");
        assert!(backoff.remaining("uid", "generation 1").is_none());
    }
}
