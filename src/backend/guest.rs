//! Working inside a container: commands, files, and jobs that outlive the operator.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;

use super::BackendError;

/// The inside of one running container.
#[async_trait]
pub trait Guest: Send + Sync {
    /// The SSH host key that the container showed, in OpenSSH's format, where it is reached by SSH.
    /// It is to be remembered in [`super::Known`], so that another one is noticed.
    fn host_key(&self) -> Option<String> {
        None
    }

    /// Runs a command and waits for it. A command that ends with an error is a success here: its
    /// exit code is in the output.
    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError>;

    /// Writes a file: made beside its place with owner and mode, then moved there, so that nobody
    /// ever sees half of it.
    async fn write_file(&self, file: FileRequest) -> Result<(), BackendError>;

    /// Starts a job that goes on without the operator, unless one of this name was started on
    /// this boot of the container already.
    async fn start_job(&self, job: JobRequest) -> Result<(), BackendError>;

    /// Looks at a job; where it still runs, waits up to `patience` for it to end.
    async fn look_at_job(&self, name: &str, patience: Duration) -> Result<JobState, BackendError>;
}

/// A command to run in a guest.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The command and its arguments; no shell is involved unless it is the command.
    pub argv: Vec<String>,
    /// The user to run as.
    pub user: String,
    /// Working directory; absent: `/`.
    pub cwd: Option<String>,
    /// Additional environment variables. They can be read on the host while the command runs:
    /// no secrets.
    pub env: BTreeMap<String, String>,
    /// What the command reads from its standard input.
    pub stdin: Option<SecretString>,
    /// The command is given up after this time.
    pub timeout: Duration,
    /// Only this many bytes of each output are kept: the last ones.
    pub output_limit: usize,
}

impl ExecRequest {
    /// A POSIX shell script, run as a user with the usual limits: 30 s, 64 KiB of output.
    pub fn script(user: &str, script: &str) -> Self {
        Self {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            user: user.to_owned(),
            cwd: None,
            env: BTreeMap::new(),
            stdin: None,
            timeout: Duration::from_secs(30),
            output_limit: 64 << 10,
        }
    }

    /// Adds positional parameters of a script: `$1` and so on.
    pub fn with_args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, arguments: I) -> Self {
        self.argv.push("berth".to_owned());
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }
}

/// What a command left behind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExecOutput {
    /// Its exit code; 124 when it was given up, as `timeout(1)` has it.
    pub exit_code: i64,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
}

impl ExecOutput {
    /// The last line that is not empty: of standard error, else of standard output.
    pub fn last_line(&self) -> &str {
        last_line(&self.stderr).or_else(|| last_line(&self.stdout)).unwrap_or("")
    }
}

/// The last line of a text that is not empty. A carriage return ends a line too, as in progress
/// displays.
pub fn last_line(text: &str) -> Option<&str> {
    text.rsplit(['\n', '\r']).map(str::trim).find(|line| !line.is_empty())
}

/// A file to be written in a guest.
#[derive(Clone, Debug)]
pub struct FileRequest {
    /// Where, absolute. Missing folders are made, owned by root.
    pub path: String,
    /// What stands in it.
    pub content: SecretString,
    /// Name of the owner; the file gets the owner's main group.
    pub owner: String,
    /// Permission bits.
    pub mode: u32,
}

/// A job to be started in a guest.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// Names the job on this boot of the container: letters, digits and `-`.
    pub name: String,
    /// A POSIX shell script.
    pub script: String,
    /// The user to run as.
    pub user: String,
    /// Environment variables of the job; written to a file of that user's alone, since they may
    /// be secret.
    pub env: BTreeMap<String, SecretString>,
}

/// How a job stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobState {
    /// No job of this name was started on this boot of the container, or it was killed without
    /// leaving a result.
    Missing,
    /// It runs.
    Running {
        /// The end of its output so far, at most 4 KiB.
        output: String,
    },
    /// It has ended.
    Exited {
        /// Its exit code.
        code: i64,
        /// The end of its output, at most 4 KiB.
        output: String,
    },
}
