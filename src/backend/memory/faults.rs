//! Delays and faults, from a seeded generator so that a run can be repeated.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    backend::{BackendError, Reason},
    config,
};

/// Decides which calls are slow and which fail.
#[derive(Clone)]
pub(super) struct Faults {
    delay: Duration,
    rate: f64,
    random: Arc<Mutex<StdRng>>,
}

impl Faults {
    pub(super) fn new(config: &config::MemoryBackend) -> Self {
        Self {
            delay: config.delay.0,
            rate: config.fault_rate,
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(config.seed))),
        }
    }

    /// Takes the time that a call takes: the configured delay, up to twice that.
    pub(super) async fn pass_time(&self) {
        if !self.delay.is_zero() {
            let factor = self.with(|random| random.random_range(1.0..2.0));
            tokio::time::sleep(self.delay.mul_f64(factor)).await;
        }
    }

    /// The delay without its random part.
    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// The failure of this call, if it is to fail.
    pub(super) fn strikes(&self) -> Option<BackendError> {
        if self.rate <= 0.0 {
            return None;
        }
        self.with(|random| {
            random.random_bool(self.rate).then(|| {
                if random.random_bool(0.5) {
                    BackendError::new(Reason::Unreachable, "scripted fault: no answer")
                } else {
                    BackendError::new(Reason::Failed, "scripted fault: internal error")
                }
            })
        })
    }

    /// Whether a failing call takes effect all the same.
    pub(super) fn takes_effect(&self) -> bool {
        self.with(|random| random.random_bool(0.5))
    }

    fn with<T>(&self, act: impl FnOnce(&mut StdRng) -> T) -> T {
        act(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
