//! Commands inside a running container.

use bollard::{Docker, container::LogOutput, exec::StartExecResults, models::ExecConfig};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _},
    time::{Duration, sleep},
};

use super::{errors, labels};
use crate::containers::Output;

/// The output ends a moment before Docker knows the exit code.
const POLL: Duration = Duration::from_millis(10);

/// Runs a command as root and gives its standard input all that can be read. `take` gets the output
/// as it comes.
pub(super) async fn run(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    argv: &[String],
    mut stdin: impl AsyncRead + Unpin,
    mut take: impl FnMut(Stream, &[u8]),
) -> Result<i32, String> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        user: Some("root".to_owned()),
        cmd: Some(argv.to_vec()),
        ..ExecConfig::default()
    };
    let name = labels::container_name(cluster, vmid);
    let exec = docker.create_exec(&name, config).await.map_err(errors::during("exec"))?.id;
    let started = docker.start_exec(&exec, None).await.map_err(errors::during("exec"))?;
    let StartExecResults::Attached { mut output, mut input } = started else {
        return Err("docker: exec: no output is attached".to_owned());
    };
    let write = async {
        // A command need not read all of its input.
        let _ = tokio::io::copy(&mut stdin, &mut input).await;
        let _ = input.shutdown().await;
        std::future::pending::<()>().await;
    };
    let read = async {
        while let Some(chunk) = output.next().await {
            match chunk? {
                LogOutput::StdErr { message } => take(Stream::Error, &message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    take(Stream::Output, &message);
                }
                LogOutput::StdIn { .. } => {}
            }
        }
        Ok(())
    };
    // A command that ends does not wait for the end of its input.
    tokio::select! {
        () = write => {}
        read = read => read.map_err(errors::during("exec"))?,
    }
    exit_code(docker, &exec).await
}

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, String> {
    loop {
        let state = docker.inspect_exec(exec).await.map_err(errors::during("exec"))?;
        if let (Some(false), Some(code)) = (state.running, state.exit_code) {
            return i32::try_from(code).map_err(|_| format!("docker: exec: exit code {code}"));
        }
        sleep(POLL).await;
    }
}

/// Runs a command and keeps all that it writes.
pub(super) async fn collect(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    argv: &[String],
    stdin: &[u8],
) -> Result<Output, String> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let take = |stream, bytes: &[u8]| match stream {
        Stream::Output => stdout.extend_from_slice(bytes),
        Stream::Error => stderr.extend_from_slice(bytes),
    };
    let code = run(docker, cluster, vmid, argv, stdin, take).await?;
    Ok(Output { code, stdout, stderr })
}
