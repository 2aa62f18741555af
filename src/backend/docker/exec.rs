//! The inside of a container, through `docker exec`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::{
    container::LogOutput,
    errors::Error,
    exec::StartExecResults,
    models::{ExecConfig, ExecInspectResponse},
};
use futures::StreamExt;
use secrecy::ExposeSecret;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};

use super::{
    errors,
    host::{Host, LOOK},
};
use crate::backend::{
    BackendError, ExecOutput, ExecRequest, Guest, JobRequest, JobState, Reason,
    guest::FileRequest,
    output::Output,
    process_group::{self, GIVEN_UP, KILL_LIMIT},
    shell,
};

/// Says which process it is, so that it can be found when it has to be killed, and becomes the
/// command. Docker lets each command lead a process group of its own.
const ANNOUNCE: &str = r#"echo $$ >&2; exec "$@""#;
const FIRST_POLL: Duration = Duration::from_millis(5);
const LONGEST_POLL: Duration = Duration::from_millis(200);

/// The inside of one container.
pub(super) struct DockerGuest {
    host: Arc<Host>,
    /// Docker's own identifier: another container never gets it, whatever its name.
    container: String,
}

impl DockerGuest {
    pub(super) fn new(host: Arc<Host>, container: String) -> Self {
        Self { host, container }
    }

    /// Creates an execution and follows it to its end, filling `output` as it goes.
    async fn execute(&self, request: &ExecRequest, output: &mut Output) -> Result<i64, BackendError> {
        let config = self.config(request);
        let created = self.host.docker.create_exec(&self.container, config);
        let exec = self.host.call("exec", LOOK, created).await?.id;
        let started = self.host.docker.start_exec(&exec, None);
        let StartExecResults::Attached { output: mut stream, mut input } =
            self.host.call("exec", LOOK, started).await?
        else {
            return Err(errors::refuse(&self.host.name, Reason::Failed, "exec: no output is attached"));
        };
        let write = async {
            if let Some(stdin) = &request.stdin {
                // A command need not read all of its input.
                let _ = input.write_all(stdin.expose_secret().as_bytes()).await;
                let _ = input.shutdown().await;
            }
        };
        let read = async {
            while let Some(chunk) = stream.next().await {
                match chunk? {
                    LogOutput::StdErr { message } => output.push_stderr(&message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        output.stdout.push(&message)
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok::<_, Error>(())
        };
        let ((), read) = futures::join!(write, read);
        read.map_err(|error| errors::from_docker(&self.host.name, "exec", &error))?;
        self.exit_code(&exec).await
    }

    fn config(&self, request: &ExecRequest) -> ExecConfig {
        let announce = ["/bin/sh", "-c", ANNOUNCE, "berth"].map(str::to_owned);
        ExecConfig {
            attach_stdin: Some(request.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            user: Some(request.user.clone()),
            working_dir: Some(request.cwd.clone().unwrap_or_else(|| "/".to_owned())),
            env: Some(request.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(announce.into_iter().chain(request.argv.iter().cloned()).collect()),
            ..ExecConfig::default()
        }
    }

    /// The output ends a moment before Docker knows the exit code.
    async fn exit_code(&self, exec: &str) -> Result<i64, BackendError> {
        let mut pause = FIRST_POLL;
        loop {
            match self.host.try_call("exec", LOOK, self.host.docker.inspect_exec(exec)).await? {
                Ok(ExecInspectResponse { running: Some(false), exit_code: Some(code), .. }) => {
                    return Ok(code);
                }
                Ok(_) => {}
                // The container ended and took the execution with it.
                Err(error) if errors::is_not_found(&error) => {
                    return Err(errors::refuse(
                        &self.host.name,
                        Reason::NotRunning,
                        "the container has ended",
                    ));
                }
                Err(error) => return Err(errors::from_docker(&self.host.name, "exec", &error)),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_POLL);
        }
    }

    async fn kill(&self, process: &str) {
        let mut output = Output::new(0);
        let killed = timeout(KILL_LIMIT, self.execute(&process_group::kill(process), &mut output)).await;
        if !matches!(killed, Ok(Ok(_))) {
            tracing::debug!(host = self.host.name, process, "a command that was given up may still run");
        }
    }
}

#[async_trait]
impl Guest for DockerGuest {
    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError> {
        let mut output = Output::new(request.output_limit);
        let ended = tokio::select! {
            ended = timeout(request.timeout, self.execute(&request, &mut output)) => ended,
            error = self.host.down() => return Err(error),
        };
        let exit_code = match ended {
            Ok(code) => code?,
            Err(_) => {
                if let Some(process) = output.process() {
                    self.kill(&process).await;
                }
                GIVEN_UP
            }
        };
        if exit_code != GIVEN_UP && output.process().is_none() {
            // Not the command spoke, but Docker.
            let words = output.stdout.text() + &output.head();
            let error = Error::DockerStreamError { error: format!("{words} (exit code {exit_code})") };
            return Err(errors::from_docker(&self.host.name, "exec", &error));
        }
        Ok(ExecOutput { exit_code, stdout: output.stdout.text(), stderr: output.stderr.text() })
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
