//! Running a command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is run, and how.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// The command and its arguments, without a shell. Not with `shell`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// A line for the user's login shell. Neither: the login shell itself, on a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Folder to start in, absolute or below the workspace; absent or blank: `/workspace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Environment variables beside those of the workspace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A command that is waited for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// The command.
    #[serde(flatten)]
    pub command: Command,
    /// What it reads from standard input; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// It is killed, with all it started, after so many milliseconds. Absent: 30,000; at most
    /// what the gateway allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// So many bytes of each output are kept, the last ones. Absent: 65,536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// What became of a command.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecResult {
    /// Its exit code, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// The end of its standard output; what is no UTF-8 is replaced.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// Whether output was dropped.
    pub truncated: bool,
    /// Whether it was killed because its time was over.
    pub timed_out: bool,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

/// The first frame of a streaming command.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecStart {
    /// The command.
    #[serde(flatten)]
    pub command: Command,
    /// Whether standard input is wanted.
    #[serde(default)]
    pub stdin: bool,
    /// On a terminal of this size; standard error is then standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<super::terminal::Size>,
    /// It is killed, with all it started, after so many milliseconds; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How a streaming command or a terminal ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Its exit code, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// Whether it was killed because its time was over.
    #[serde(default)]
    pub timed_out: bool,
}
