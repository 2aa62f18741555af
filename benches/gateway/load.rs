//! Load on an HTTP server: `wrk` for many small answers, curl for a large one.

use std::{process::Command, time::Duration};

use super::figures::Latency;

/// Connections at a time.
pub const CONNECTIONS: u32 = 64;

/// A server, and the name by which it is asked for.
pub struct Site {
    /// Address and port to connect to.
    pub place: String,
    /// The `Host` of the requests.
    pub host: String,
}

/// What `wrk` measured.
pub struct Requests {
    /// Answers in a second.
    pub a_second: f64,
    /// Time to one.
    pub latency: Latency,
}

impl Site {
    /// Asks for the small answer for so long, over and over again.
    pub fn requests(&self, time: Duration) -> Requests {
        let output = Command::new("wrk")
            .args(["--threads", "2", "--latency"])
            .args(["--connections", &CONNECTIONS.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs())])
            .args(["--header", &format!("Host: {}", self.host)])
            .arg(format!("http://{}/", self.place))
            .output()
            .expect("wrk does not run: apt-get install wrk");
        let text = String::from_utf8(output.stdout).expect("wrk says no text");
        let failed = ["Non-2xx", "Socket errors"].iter().any(|word| text.contains(word));
        assert!(output.status.success() && !failed, "requests failed:\n{text}");
        let after = |word: &str| {
            let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(word));
            lines.next().unwrap_or_else(|| panic!("no {word} in:\n{text}")).trim().to_owned()
        };
        let time = |word: &str| duration(&after(word)).unwrap_or_else(|| panic!("no time in:\n{text}"));
        let a_second = after("Requests/sec:").parse().expect("no number");
        Requests { a_second, latency: Latency { p50: time("50%"), p99: time("99%") } }
    }

    /// Fetches the large answer, and returns the bytes that came in a second.
    pub fn throughput(&self, expected: usize) -> f64 {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--output", "/dev/null"])
            .args(["--write-out", "%{size_download} %{time_total}"])
            .args(["--header", &format!("Host: {}", self.host)])
            .arg(format!("http://{}/large", self.place))
            .output()
            .expect("curl does not run");
        let text = String::from_utf8(output.stdout).expect("curl says no text");
        let numbers: Vec<f64> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [bytes, time] = numbers[..] else {
            panic!("curl: {text} {}", String::from_utf8_lossy(&output.stderr))
        };
        assert!(bytes as usize == expected, "{bytes} of {expected} bytes came");
        bytes / time
    }
}

/// A time as `wrk` writes it: `1.23ms`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * scale))
}
