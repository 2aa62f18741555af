//! Settings of a memory backend.

use serde::Deserialize;

use super::GoDuration;

/// A backend inside the operator's process: nothing real is made. For tests and scale runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MemoryBackend {
    /// Names of its hosts. Default: `memory`.
    pub hosts: Vec<String>,
    /// How long each call takes at least. Default 0.
    pub delay: GoDuration,
    /// Share of the calls that fail, from 0 to 1. Half of those that change something fail after
    /// the change took effect. Default 0.
    pub fault_rate: f64,
    /// Seed of the random numbers that pick delays and faults. Default 0.
    pub seed: u64,
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self { hosts: vec!["memory".to_owned()], delay: GoDuration::default(), fault_rate: 0.0, seed: 0 }
    }
}

impl MemoryBackend {
    pub(super) fn check(&self, field: &str, complain: &mut dyn FnMut(&str, &str)) {
        if self.hosts.is_empty() {
            complain(&format!("{field}.hosts"), "must name at least one host");
        }
        if !(0.0..=1.0).contains(&self.fault_rate) {
            complain(&format!("{field}.faultRate"), "must be from 0 to 1");
        }
    }
}
