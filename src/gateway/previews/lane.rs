//! What is under way to a preview: how much, and when somebody last used it.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::uri::Authority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{preview::Preview, preview::Traffic, refusal::Refusal, upstream};
use crate::backend::BodyId;

/// Beyond so many, lanes that nobody uses are forgotten.
const REMEMBERED: usize = 4096;
const PAUSE: Duration = Duration::from_secs(1);
const NEVER: u64 = u64::MAX;

/// The lanes of all previews.
pub struct Lanes {
    traffic: Arc<dyn Traffic>,
    max_requests: usize,
    began: Instant,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    lanes: HashMap<String, Arc<Lane>>,
    pulses: HashMap<BodyId, Arc<Pulse>>,
}

/// What is under way to one preview.
pub struct Lane {
    workspace: BodyId,
    port: u16,
    /// How its dev server is called among the connections.
    pub address: Authority,
    requests: Arc<Semaphore>,
    pulse: Arc<Pulse>,
}

/// When somebody last used a workspace's previews.
pub struct Pulse {
    workspace: BodyId,
    traffic: Arc<dyn Traffic>,
    began: Instant,
    told_at: AtomicU64,
}

impl Lanes {
    /// None yet.
    pub fn new(traffic: Arc<dyn Traffic>, max_requests: usize) -> Self {
        Self { traffic, max_requests, began: Instant::now(), known: RwLock::default() }
    }

    /// The lane of a preview.
    pub fn of(&self, preview: &Preview) -> Result<Arc<Lane>, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let lane = known.lanes.get(&preview.host).filter(|lane| lane.leads_to(preview)).cloned();
        drop(known);
        lane.map_or_else(|| self.open(preview), Ok)
    }

    fn open(&self, preview: &Preview) -> Result<Arc<Lane>, Refusal> {
        let address = upstream::address(preview.workspace, preview.port).ok_or(Refusal::Unreachable)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = known.lanes.get(&preview.host).filter(|lane| lane.leads_to(preview)) {
            return Ok(Arc::clone(lane));
        }
        if known.lanes.len() >= REMEMBERED {
            known.lanes.retain(|_, lane| lane.is_used(self.max_requests));
            known.pulses.retain(|_, pulse| Arc::strong_count(pulse) > 1);
        }
        let pulse = known.pulses.entry(preview.workspace).or_insert_with(|| {
            Arc::new(Pulse {
                workspace: preview.workspace,
                traffic: Arc::clone(&self.traffic),
                began: self.began,
                told_at: AtomicU64::new(NEVER),
            })
        });
        let lane = Arc::new(Lane {
            workspace: preview.workspace,
            port: preview.port,
            address,
            requests: Arc::new(Semaphore::new(self.max_requests)),
            pulse: Arc::clone(pulse),
        });
        known.lanes.insert(preview.host.clone(), Arc::clone(&lane));
        Ok(lane)
    }
}

impl Lane {
    /// Takes a place for a request; it is free again when the result is dropped.
    pub fn enter(&self) -> Result<Place, Refusal> {
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        self.pulse.touch();
        Ok(Place { pulse: Arc::clone(&self.pulse), _place: place })
    }

    fn leads_to(&self, preview: &Preview) -> bool {
        self.workspace == preview.workspace && self.port == preview.port
    }

    fn is_used(self: &Arc<Self>, places: usize) -> bool {
        Arc::strong_count(self) > 1 || self.requests.available_permits() < places
    }
}

/// The place of a request that is under way.
pub struct Place {
    pulse: Arc<Pulse>,
    _place: OwnedSemaphorePermit,
}

impl Place {
    /// Bytes have passed.
    pub fn touch(&self) {
        self.pulse.touch();
    }

    /// What tells of bytes that pass.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }
}

impl Pulse {
    /// Somebody uses it; told on at most once a second.
    pub fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - 1);
        let told = self.told_at.load(Ordering::Relaxed);
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(NEVER);
        if told != NEVER && now.saturating_sub(told) < pause {
            return;
        }
        if self.told_at.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.traffic.touched(self.workspace);
        }
    }
}
