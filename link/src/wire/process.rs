//! Supervised processes: what is wanted of them, and how they are.

use std::{borrow::Borrow, collections::BTreeMap, fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names a supervised process within its workspace: the name of its DevServer. Letters, digits,
/// `-`, `_` and `.`, a letter or digit first, at most 63: it can not lead out of a folder.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId(String);

/// A text that names no process.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no process id: 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first")]
pub struct InvalidProcessId(String);

impl FromStr for ProcessId {
    type Err = InvalidProcessId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text.len() <= 63
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|each| each.is_ascii_alphanumeric() || matches!(each, b'-' | b'_' | b'.'));
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidProcessId(text.to_owned())) }
    }
}

impl TryFrom<String> for ProcessId {
    type Error = InvalidProcessId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> Self {
        id.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for ProcessId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Every process that is to be there. One that is missing here is ended and forgotten.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DesiredProcesses {
    /// The processes.
    pub processes: Vec<ProcessSpec>,
}

/// One process that is to be there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessSpec {
    /// Its name.
    pub id: ProcessId,
    /// Whether it is to run. Where not, it is ended and its last state stays.
    pub run: bool,
    /// What is run, by a login shell of the user: `bash -lc`, or `sh -lc` where there is no bash.
    pub command: String,
    /// Folder that it starts in, absolute.
    pub workdir: String,
    /// Environment variables beside those of the workspace; `HOST`, `PORT` and `DEV_SERVER_ID`
    /// are added where they are not set here.
    pub env: BTreeMap<String, String>,
    /// The port that it is to open.
    pub port: Option<u16>,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// How it is seen to be well, where it has a port.
    pub health: Health,
    /// How much of its output is kept.
    pub logs: LogLimits,
    /// What in its output counts as an error.
    pub errors: ErrorDetection,
    /// A new value ends the process and starts it again, and forgets earlier crashes.
    pub restart_nonce: String,
}

/// When a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// So many times without a good run between; then it has failed.
    pub max_restarts: u32,
    /// Wait before the first restart; it doubles with each.
    #[serde(with = "millis")]
    pub initial_delay: Duration,
    /// The longest wait.
    #[serde(with = "millis")]
    pub max_delay: Duration,
    /// A run of this length is a good one: it forgets earlier crashes.
    #[serde(with = "millis")]
    pub reset_after: Duration,
}

/// After which ends a process is started again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RestartPolicy {
    /// All.
    Always,
    /// A signal, an exit code other than 0, or a failed health check.
    OnFailure,
    /// None.
    Never,
}

/// How a process is seen to be well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Path of an HTTP `GET`; any answer is a good one. Absent: it is enough that the port opens.
    pub path: Option<String>,
    /// Time between two checks.
    #[serde(with = "millis")]
    pub interval: Duration,
    /// Longest time for one check.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// So long after a start failures do not count.
    #[serde(with = "millis")]
    pub startup_grace: Duration,
    /// So many failures in a row end the process; it counts as crashed. 0: never.
    pub failure_threshold: u32,
}

/// How much of a process's output is kept.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLimits {
    /// Lines.
    pub max_lines: u64,
    /// Bytes.
    pub max_bytes: u64,
}

/// What in a process's output counts as an error.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetection {
    /// Lines that are JSON objects with a numeric `level` of 50 or more count.
    pub json: bool,
    /// Lines that look like errors of common tools count.
    pub text: bool,
    /// A line that contains one of these, whatever the case, counts, and ends the process, which
    /// counts as a crash.
    pub fatal: Vec<String>,
}

/// The supervised processes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Processes {
    /// Each of them, by name.
    pub processes: Vec<ProcessState>,
}

/// How one process is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState {
    /// Its name.
    pub id: ProcessId,
    /// What it is doing.
    pub phase: ProcessPhase,
    /// A stable word for what is wrong: `CrashLoop`, `StartFailed`, `Exited`, `HealthCheckFailed`,
    /// `FatalError`; of a process that runs, too: `PortInUse`, `Unhealthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The process, which is the leader of a group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Restarts since the last good run.
    pub restart_count: u32,
    /// When it last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When it will be started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start_at: Option<Timestamp>,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// Whether its port is open; always false without a port.
    pub port_open: bool,
    /// Whether its last health check was good; without a port: whether it runs.
    pub healthy: bool,
    /// How many errors were seen in its output since it was first started.
    pub error_count: u64,
    /// The newest error in its output, at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The end of its output, at most 1 KiB, where it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// The `restart_nonce` that it was last started for, or tried to be.
    pub restart_nonce: String,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ProcessPhase {
    /// Started, and its health check has not been good yet.
    Starting,
    /// Running, and well.
    Running,
    /// Ended by itself, and waiting to be started again.
    Restarting,
    /// Being ended.
    Stopping,
    /// Not running, as wanted: it was never to run, was stopped, or came to its end.
    Stopped,
    /// Not running, and not started again by itself.
    Failed,
}

/// How a process ended; neither is set where that is not known.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Its exit code, where it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal, where one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// Which lines of a log are wanted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogQuery {
    /// So many lines from the end, 1 to 2000; absent: 200. Not with `since`.
    pub tail: Option<u64>,
    /// Everything from this byte offset on, as far as it is still kept.
    pub since: Option<u64>,
    /// Go on with new lines as they come.
    pub follow: bool,
    /// Put `[time] [stream]` before each line; the stream is `stdout`, `stderr` or `monitor`.
    pub timestamps: bool,
}

/// Header of a log's answer: the byte offset of what follows its end, to go on from with `since`.
pub const LOG_OFFSET_HEADER: &str = "berth-log-offset";

/// Errors that were seen in the output of a process, newest first, each kind once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DetectedErrors {
    /// The errors.
    pub errors: Vec<DetectedError>,
}

/// One kind of error in the output of a process.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DetectedError {
    /// The same for errors that differ only in times, ports and positions.
    pub fingerprint: String,
    /// As pino has it: 50 is an error, 60 is fatal.
    pub level: u8,
    /// The newest message, at most 1 KiB.
    pub message: String,
    /// How many times it was seen.
    pub count: u64,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last seen.
    pub last_seen_at: Timestamp,
}

/// Durations as whole milliseconds.
mod millis {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
