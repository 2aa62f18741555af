//! Prometheus metrics. No name of an object is ever a label; docs/operations.md lists them all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    process_collector::ProcessCollector,
};

use crate::{
    backend::ItemKind,
    controller::{context::Context, devserver, workspace::Phase},
};

/// All counters of the operator.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    errors: IntCounterVec,
    step_seconds: HistogramVec,
    backend_calls: IntCounterVec,
    backend_seconds: HistogramVec,
    workspaces: IntGaugeVec,
    devservers: IntGaugeVec,
    orphans: IntGaugeVec,
    ledger: IntGauge,
    leader: IntGauge,
    hosts: IntGaugeVec,
    objects: Mutex<Weak<Context>>,
}

impl Metrics {
    /// Where other parts register theirs.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers everything once.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let fast = vec![0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];
        let slow = vec![0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
        let metrics = Self {
            reconciles: counter(
                &registry,
                "berth_reconciles_total",
                "Passes over objects",
                &["kind", "result"],
            )?,
            reconcile_seconds: histogram(
                &registry,
                "berth_reconcile_duration_seconds",
                "Time that a pass took",
                &["kind"],
                fast.clone(),
            )?,
            errors: counter(&registry, "berth_errors_total", "Failures by their reason", &["reason"])?,
            step_seconds: histogram(
                &registry,
                "berth_step_duration_seconds",
                "Time that a step of a Workspace took",
                &["step"],
                slow,
            )?,
            backend_calls: counter(
                &registry,
                "berth_backend_calls_total",
                "Calls of backends; result is Ok or the reason of the failure",
                &["backend", "call", "result"],
            )?,
            backend_seconds: histogram(
                &registry,
                "berth_backend_call_duration_seconds",
                "Time that a call of a backend took",
                &["backend", "call"],
                fast,
            )?,
            workspaces: gauge(&registry, "berth_workspaces", "Workspaces by phase", &["phase"])?,
            devservers: gauge(&registry, "berth_devservers", "DevServers by phase", &["phase"])?,
            orphans: gauge(
                &registry,
                "berth_orphans",
                "Things on a backend that carry this operator's mark and belong to no Workspace",
                &["backend", "kind"],
            )?,
            ledger: plain_gauge(&registry, "berth_ledger_entries", "Removals that wait for their backend")?,
            leader: plain_gauge(&registry, "berth_leader", "1 while this replica is the leader")?,
            hosts: gauge(&registry, "berth_host_up", "1 while the host answers", &["backend", "host"])?,
            objects: Mutex::default(),
            registry,
        };
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A pass has ended.
    pub fn reconciled(&self, kind: &str, ok: bool, took: Duration) {
        self.reconciles.with_label_values(&[kind, if ok { "Ok" } else { "Error" }]).inc();
        self.reconcile_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// Something failed for a stable reason.
    pub fn failed(&self, reason: &str) {
        self.errors.with_label_values(&[reason]).inc();
    }

    /// A step has ended.
    pub fn step_took(&self, step: &str, took: Duration) {
        self.step_seconds.with_label_values(&[step]).observe(took.as_secs_f64());
    }

    /// A backend has answered a call.
    pub fn backend_called(&self, backend: &str, call: &str, result: &str, took: Duration) {
        self.backend_calls.with_label_values(&[backend, call, result]).inc();
        self.backend_seconds.with_label_values(&[backend, call]).observe(took.as_secs_f64());
    }

    /// So many things belong to no Workspace.
    pub fn orphans(&self, backend: &str, kind: ItemKind, count: i64) {
        self.orphans.with_label_values(&[backend, &kind.to_string()]).set(count);
    }

    /// So many removals wait.
    pub fn ledger_entries(&self, count: usize) {
        self.ledger.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Where Workspaces and hosts are counted when somebody asks.
    pub fn watch_objects(&self, context: &Arc<Context>) {
        *self.objects.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(context);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        self.count_objects();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn count_objects(&self) {
        let context = self.objects.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(context) = context else {
            self.workspaces.reset();
            self.devservers.reset();
            return;
        };
        let all = context.objects.workspaces();
        let words = all.iter().map(|one| one.status.as_ref()?.phase.as_deref());
        count(&self.workspaces, &Phase::ALL.map(Phase::as_str), words);
        let all = context.objects.devservers();
        let words = all.iter().map(|one| one.status.as_ref()?.phase.as_deref());
        count(&self.devservers, &devserver::Phase::ALL.map(devserver::Phase::as_str), words);
        for (name, backend) in &context.backends {
            for host in backend.hosts() {
                self.hosts.with_label_values(&[name, &host.name]).set(i64::from(host.unreachable.is_none()));
            }
        }
    }
}

/// Sets a gauge to the number of objects in each phase. One that has none yet, or none of these,
/// counts as pending.
fn count<'a>(gauge: &IntGaugeVec, phases: &[&'a str], words: impl Iterator<Item = Option<&'a str>>) {
    let mut counts: BTreeMap<&str, i64> = phases.iter().map(|phase| (*phase, 0)).collect();
    for word in words {
        let phase = word.filter(|word| phases.contains(word)).unwrap_or("Pending");
        *counts.entry(phase).or_default() += 1;
    }
    for (phase, count) in counts {
        gauge.with_label_values(&[phase]).set(count);
    }
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn plain_gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: Vec<f64>,
) -> prometheus::Result<HistogramVec> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
