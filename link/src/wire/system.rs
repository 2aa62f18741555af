//! The container as a whole.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Every process in the container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SystemProcesses {
    /// Each of them, by number.
    pub processes: Vec<SystemProcess>,
}

/// One process in the container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Name of its user, else the number.
    pub user: String,
    /// One letter, as in `/proc`: R, S, D, Z and so on.
    pub state: String,
    /// Command line, at most 1 KiB.
    pub command: String,
    /// Memory in bytes.
    pub resident_bytes: u64,
    /// Processor time so far in milliseconds.
    pub cpu_ms: u64,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// The supervised process that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<String>,
    /// Ports that it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// What the container uses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Processor time of the last seconds, in thousandths of a processor.
    pub cpu_millis: u64,
    /// Memory in use, in bytes, without what the kernel can drop.
    pub memory_bytes: u64,
    /// Memory limit in bytes, where there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Space in use on the file system of `/workspace`, in bytes.
    pub disk_used_bytes: u64,
    /// Size of that file system in bytes.
    pub disk_size_bytes: u64,
    /// Number of processes.
    pub processes: u64,
    /// Seconds since the container started.
    pub uptime_seconds: u64,
}

/// When somebody or something last worked in the workspace. A heartbeat is no work.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// A command or a terminal had input or output.
    pub terminal_at: Option<Timestamp>,
    /// Bytes went through a connection to a port.
    pub traffic_at: Option<Timestamp>,
    /// A git operation through the agent.
    pub git_at: Option<Timestamp>,
    /// A file was read or written through the agent.
    pub files_at: Option<Timestamp>,
    /// The processes in the container together used more than a twentieth of a processor.
    pub cpu_at: Option<Timestamp>,
}

impl Activity {
    /// The newer of each.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            terminal_at: self.terminal_at.max(other.terminal_at),
            traffic_at: self.traffic_at.max(other.traffic_at),
            git_at: self.git_at.max(other.git_at),
            files_at: self.files_at.max(other.files_at),
            cpu_at: self.cpu_at.max(other.cpu_at),
        }
    }

    /// The same, without anything that is later than this.
    #[must_use]
    pub fn no_later_than(&self, now: Timestamp) -> Self {
        let bounded = |at: Option<Timestamp>| at.map(|at| at.min(now));
        Self {
            terminal_at: bounded(self.terminal_at),
            traffic_at: bounded(self.traffic_at),
            git_at: bounded(self.git_at),
            files_at: bounded(self.files_at),
            cpu_at: bounded(self.cpu_at),
        }
    }

    /// The newest of all.
    pub fn last(&self) -> Option<Timestamp> {
        [self.terminal_at, self.traffic_at, self.git_at, self.files_at, self.cpu_at]
            .into_iter()
            .flatten()
            .max()
    }
}
