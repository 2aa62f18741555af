//! Counters of the links.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of the links of one replica. No name of an object is a label.
#[derive(Clone)]
pub struct LinkMetrics {
    linked: IntGauge,
    connects: IntCounter,
    refusals: IntCounterVec,
    disconnects: IntCounterVec,
}

impl LinkMetrics {
    /// Registers them once.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by_reason = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["reason"]);
        let metrics = Self {
            linked: IntGauge::new("berth_agents_linked", "Agents with a link to this replica")?,
            connects: IntCounter::new("berth_agent_connects_total", "Links that agents opened")?,
            refusals: by_reason("berth_agent_refusals_total", "Agents that were refused a link")?,
            disconnects: by_reason("berth_agent_disconnects_total", "Links of agents that ended")?,
        };
        registry.register(Box::new(metrics.linked.clone()))?;
        registry.register(Box::new(metrics.connects.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.disconnects.clone()))?;
        Ok(metrics)
    }

    /// So many agents have a link now.
    pub fn linked(&self, count: usize) {
        self.linked.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An agent has a link.
    pub fn connected(&self) {
        self.connects.inc();
    }

    /// An agent was refused one.
    pub fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// A link ended.
    pub fn disconnected(&self, reason: &str) {
        self.disconnects.with_label_values(&[reason]).inc();
    }
}
