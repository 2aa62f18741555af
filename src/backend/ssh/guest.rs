//! The inside of a container that is reached by SSH, as root.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::{HostKey, SshError, command_line, connection::Connection, pool::Way};
use crate::backend::{
    BackendError, ExecOutput, ExecRequest, Guest, JobRequest, JobState, Reason,
    guest::FileRequest,
    output::Output,
    process_group::{self, GIVEN_UP, KILL_LIMIT},
    shell,
};

/// The inside of one container. A connection that broke is replaced by the next command.
pub struct SshGuest {
    way: Arc<Way>,
    seen: HostKey,
}

impl SshGuest {
    pub(super) fn new(way: Arc<Way>, seen: HostKey) -> Self {
        Self { way, seen }
    }

    /// The host key that the container showed.
    pub fn seen(&self) -> &HostKey {
        &self.seen
    }

    /// Runs a command with any bytes for its input; that of the request is not looked at.
    pub(super) async fn run_with(
        &self,
        request: &ExecRequest,
        stdin: &[u8],
    ) -> Result<ExecOutput, BackendError> {
        let preamble = command_line::preamble(request).map_err(|words| {
            BackendError::new(Reason::Unsupported, format!("ssh {}: {words}", self.way.target()))
        })?;
        let connection = self.way.connection().await?;
        let ended = self.run_over(connection, request, [preamble.expose_secret().as_bytes(), stdin]).await;
        self.way.touch();
        ended
    }

    async fn run_over(
        &self,
        mut connection: Arc<Connection>,
        request: &ExecRequest,
        input: [&[u8]; 2],
    ) -> Result<ExecOutput, BackendError> {
        let here = |error: SshError| error.at(self.way.target());
        let mut session = match connection.open(request.timeout).await {
            Ok(session) => session,
            // It may have been dead for long. No command has begun: another try does no harm.
            Err(SshError::Slow(_) | SshError::Protocol(_)) => {
                self.way.abandon(&connection).await;
                connection = self.way.connection().await?;
                connection.open(request.timeout).await.map_err(here)?
            }
            Err(error) => return Err(here(error)),
        };
        let mut output = Output::new(request.output_limit);
        let exit_code = match timeout(request.timeout, session.run(input, &mut output)).await {
            Ok(code) => code.map_err(here)?,
            Err(_) => {
                if let Some(process) = output.process() {
                    kill(&connection, &process).await;
                }
                GIVEN_UP
            }
        };
        if exit_code != GIVEN_UP && output.process().is_none() {
            // The command was not reached: something before it failed.
            let words = output.head() + &output.stdout.text();
            let words = format!("ssh {}: {words} (exit code {exit_code})", self.way.target());
            return Err(BackendError::new(Reason::Failed, shortened(&words)));
        }
        Ok(ExecOutput { exit_code, stdout: output.stdout.text(), stderr: output.stderr.text() })
    }
}

async fn kill(connection: &Connection, process: &str) {
    let end = async {
        let request = process_group::kill(process);
        let preamble = command_line::preamble(&request).map_err(|_| SshError::Refused)?;
        let mut session = connection.open_at_once().await?;
        session.run([preamble.expose_secret().as_bytes(), b""], &mut Output::new(0)).await
    };
    if !matches!(timeout(KILL_LIMIT, end).await, Ok(Ok(_))) {
        tracing::debug!(process, "a command that was given up may still run");
    }
}

/// What comes from a guest is shown to people: not too much of it.
fn shortened(words: &str) -> String {
    const LIMIT: usize = 300;
    match words.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", words.get(..end).unwrap_or_default()),
        None => words.to_owned(),
    }
}

#[async_trait]
impl Guest for SshGuest {
    fn host_key(&self) -> Option<String> {
        Some(self.seen.to_string())
    }

    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError> {
        let stdin = request.stdin.as_ref().map_or(&b""[..], |stdin| stdin.expose_secret().as_bytes());
        self.run_with(&request, stdin).await
    }

    async fn write_file(&self, file: FileRequest) -> Result<(), BackendError> {
        shell::write_file(self, file).await
    }

    async fn start_job(&self, job: JobRequest) -> Result<(), BackendError> {
        shell::start_job(self, job).await
    }

    async fn look_at_job(&self, name: &str, patience: Duration) -> Result<JobState, BackendError> {
        shell::look_at_job(self, name, patience).await
    }
}
