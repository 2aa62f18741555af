//! Commands inside a running container.

use bollard::{Docker, container::LogOutput, exec::StartExecResults, models::ExecConfig};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _},
    sync::mpsc,
    time::{Duration, sleep},
};

use super::{errors, labels};
use crate::containers::{Chunk, Output};

/// The output ends a moment before Docker knows the exit code.
const POLL: Duration = Duration::from_millis(10);
/// A command of whoever is inside may write without end.
const MOST_KEPT: usize = 16 << 20;

/// Runs a command as root, with all of its input that can be read.
pub(super) async fn run(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    argv: &[String],
    mut stdin: impl AsyncRead + Unpin,
    outputs: mpsc::Sender<Chunk>,
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
            let chunk = match chunk? {
                LogOutput::StdErr { message } => Chunk::Stderr(message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => Chunk::Stdout(message),
                LogOutput::StdIn { .. } => continue,
            };
            // Nobody needs to listen.
            let _ = outputs.send(chunk).await;
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

async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, String> {
    loop {
        let state = docker.inspect_exec(exec).await.map_err(errors::during("exec"))?;
        if let (Some(false), Some(code)) = (state.running, state.exit_code) {
            return i32::try_from(code).map_err(|_| format!("docker: exec: exit code {code}"));
        }
        sleep(POLL).await;
    }
}

/// Runs a command and keeps the first 16 MiB of each of its outputs.
pub(super) async fn collect(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    argv: &[String],
    stdin: &[u8],
) -> Result<Output, String> {
    let (sender, mut outputs) = mpsc::channel(1);
    let keep = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = outputs.recv().await {
            match chunk {
                Chunk::Stdout(bytes) => keep_some(&mut stdout, &bytes),
                Chunk::Stderr(bytes) => keep_some(&mut stderr, &bytes),
            }
        }
        (stdout, stderr)
    };
    let (code, (stdout, stderr)) = tokio::join!(run(docker, cluster, vmid, argv, stdin, sender), keep);
    Ok(Output { code: code?, stdout, stderr })
}

fn keep_some(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_KEPT.saturating_sub(kept.len());
    kept.extend(bytes.iter().take(room));
}
