//! The routes of an agent, and what goes over them.
//!
//! | Request | What |
//! |---|---|
//! | `GET /v1/info` | [`AgentInfo`] |
//! | `GET /v1/events` | newline-delimited [`Event`]s, without end |
//! | `PUT /v1/processes` | takes [`process::DesiredProcesses`]: the whole set, always |
//! | `GET /v1/processes` | [`process::Processes`] |
//! | `POST /v1/processes/{id}/restart` | ends the process; it is started again at once |
//! | `GET /v1/processes/{id}/log` | lines as text; query [`process::LogQuery`] |
//! | `GET /v1/processes/{id}/errors` | [`process::DetectedErrors`] |
//! | `POST /v1/exec` | [`exec::ExecRequest`] to [`exec::ExecResult`] |
//! | `POST /v1/exec/stream` | [`frame`]s in both directions; the first is [`exec::ExecStart`] |
//! | `GET /v1/terminals` | [`terminal::Terminals`] |
//! | `POST /v1/terminals/{name}` | [`frame`]s in both directions; query [`terminal::AttachQuery`] |
//! | `DELETE /v1/terminals/{name}` | ends the terminal's processes |
//! | `GET PUT DELETE /v1/files` | content of one file; query [`files::FileQuery`] |
//! | `GET /v1/files/list` | [`files::Listing`]; query [`files::FileQuery`] |
//! | `GET PUT /v1/files/archive` | a folder as a tar stream; query [`files::FileQuery`] |
//! | `GET /v1/git/status` | [`git::GitStatus`] |
//! | `GET /v1/git/diff` | text; query [`git::DiffQuery`] |
//! | `POST /v1/git/{stage,unstage,discard}` | takes [`git::Paths`] |
//! | `POST /v1/git/commit` | [`git::Commit`] to [`git::Committed`] |
//! | `GET /v1/system/processes` | [`system::SystemProcesses`] |
//! | `GET /v1/stats` | [`system::Stats`] |
//! | `GET /v1/activity` | [`system::Activity`] |
//! | `CONNECT 127.0.0.1:{port}` | bytes to and from a port of the workspace |
//!
//! Every answer that is no success carries an [`AgentProblem`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod exec;
pub mod files;
pub mod frame;
pub mod git;
pub mod process;
pub mod system;
pub mod terminal;

/// The path on which the gateway takes an agent's WebSocket.
pub const CONNECT_PATH: &str = "/agent/connect";

/// Version of the routes. An agent of another one is updated before anything else is asked of it.
pub const PROTOCOL: u32 = 1;

/// Who an agent is: the first thing that a gateway asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// Version of the link process.
    pub version: String,
    /// [`PROTOCOL`] of the link process.
    pub protocol: u32,
    /// Version of the supervisor, which goes on through updates. Absent while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor_version: Option<String>,
    /// Tells one build of the link process's program from another: the first 12 hexadecimal digits
    /// of its SHA-256. Absent where the program could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The update that was tried in this boot of the container and given up, so that the link
    /// process is one of the program that the container was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_update: Option<FailedUpdate>,
    /// Tells one boot of the container from another.
    pub boot_id: String,
    /// When the link process started.
    pub started_at: Timestamp,
    /// Name of the user it runs as.
    pub user: String,
}

/// An update of the agent that did not come up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedUpdate {
    /// Its build, as [`AgentInfo::build`].
    pub build: String,
    /// Why it was given up, for people; at most 512 characters.
    pub message: String,
}

/// What an agent tells by itself. The first of each kind is the whole state; so is every later
/// one: nothing is lost when one is missed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    /// The supervised processes, at once and whenever one changes.
    Processes(process::Processes),
    /// What counts as work, at most every 30 s.
    Activity(system::Activity),
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct AgentProblem {
    /// A stable word for programs, such as `PathNotAllowed`.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// More for programs, such as the path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl AgentProblem {
    /// A problem without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: BTreeMap::new() }
    }
}
