//! Figures of many measurements, as they are printed.

use std::time::Duration;

/// Median and 99th percentile of many times.
pub struct Latency {
    /// Half of them were at most this.
    pub p50: Duration,
    /// All but one in a hundred were at most this.
    pub p99: Duration,
}

impl Latency {
    /// Of these; there must be some.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |hundredths: usize| times[(times.len() * hundredths / 100).min(times.len() - 1)];
        Self { p50: at(50), p99: at(99) }
    }
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A time in seconds.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Bytes in MiB.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
