//! Waits between two tries to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Waits that double, each cut or drawn out by up to a quarter, so that a thousand agents that
/// lost their gateway at once do not come back at once.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; never shorter than what the gateway asked for.
    pub fn next(&mut self, asked_for: Option<Duration>) -> Duration {
        let plain = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let jitter = 0.75 + rand::random::<f64>() / 2.0;
        plain.max(asked_for.unwrap_or_default().min(LONGEST)).mul_f64(jitter)
    }

    /// A connection was good: the next wait is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        for expected in [500_u64, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            let wait = backoff.next(None);
            let plain = Duration::from_millis(expected);
            assert!(wait >= plain.mul_f64(0.75) && wait <= plain.mul_f64(1.25), "{wait:?} for {plain:?}");
        }
        backoff.reset();
        assert!(backoff.next(None) < Duration::from_secs(1));
    }

    #[test]
    fn what_the_gateway_asks_for_is_waited() {
        let wait = Backoff::default().next(Some(Duration::from_secs(20)));
        assert!(wait >= Duration::from_secs(15), "{wait:?}");
        assert!(Backoff::default().next(Some(Duration::from_secs(100_000))) <= LONGEST.mul_f64(1.25));
    }
}
