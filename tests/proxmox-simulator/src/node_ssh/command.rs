//! One command on a node: a shell with a machine of its own around it.

use std::{io, path::Path, process::Stdio, sync::Arc};

use russh::{Channel, server::Msg};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixListener,
    process::{Child, Command},
    sync::Mutex,
};

use super::{Node, files::Files, host::Host, protocol::SOCKET, requests};

/// Lays the folder's `etc` over the machine's and its `bin` over the folder that has `pct` on a host,
/// gives the node's name, and becomes root's shell. The shell has a mount and a name space of its own,
/// so nothing of it is seen outside.
const ENTER: &str = r#"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc &&
mount -t overlay overlay -o "lowerdir=$1/bin:/usr/sbin" /usr/sbin && hostname "$2" || exit 255
cd /
exec bash -c "$3"
"#;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What `ssh` ends with when it is the connection that failed.
const FAILED: u32 = 255;

/// Runs a command for a channel, to its end.
pub(super) async fn run(node: Node, command: String, channel: Channel<Msg>) {
    let name = node.name.clone();
    tracing::info!(node = name, command, "a command over SSH");
    let (mut read, write) = channel.split();
    let code = match attempt(node, &command, read.make_reader(), &write).await {
        Ok(code) => code,
        Err(error) => {
            tracing::warn!(node = name, %error, "a command over SSH failed");
            let words = format!("simulator: {error}\n");
            let _ = write.extended_data_bytes(1, words.into_bytes()).await;
            FAILED
        }
    };
    // The client may have gone.
    let _ = write.exit_status(code).await;
    let _ = write.eof().await;
    let _ = write.close().await;
}

async fn attempt(
    node: Node,
    command: &str,
    mut stdin: impl tokio::io::AsyncRead + Unpin,
    write: &russh::ChannelWriteHalf<Msg>,
) -> io::Result<u32> {
    let folder = tempfile::Builder::new().prefix("proxmox-simulator-").tempdir()?;
    let path = folder.path();
    for name in ["work", "bin"] {
        std::fs::create_dir(path.join(name))?;
    }
    std::os::unix::fs::symlink(&node.program, path.join("bin/pct"))?;
    let mut files = Files::make(&path.join("etc/pve"), &node.name)?;
    files.pull(&*node.configurations).await?;
    let listener = UnixListener::bind(path.join("socket"))?;
    let mut child = spawn(path, &node.name, command)?;
    let host = Arc::new(Host { node, files: Mutex::new(files) });

    let (mut to, mut from, mut errors) = pipes(&mut child)?;
    let input = async {
        // A command need not read all of its input.
        let _ = tokio::io::copy(&mut stdin, &mut to).await;
        let _ = to.shutdown().await;
        drop(to);
        std::future::pending::<()>().await;
    };
    let mut stdout = write.make_writer();
    let mut stderr = write.make_writer_ext(Some(1));
    let output = async {
        tokio::try_join!(tokio::io::copy(&mut from, &mut stdout), tokio::io::copy(&mut errors, &mut stderr))?;
        child.wait().await
    };
    let status = tokio::select! {
        () = input => return Ok(FAILED),
        () = requests::answer_all(listener, Arc::clone(&host)) => return Ok(FAILED),
        status = output => status?,
    };
    let failures = host.push().await;
    if failures.is_empty() {
        return Ok(code(status));
    }
    stderr.write_all(format!("{}\n", failures.join("\n")).as_bytes()).await?;
    Ok(1)
}

fn spawn(folder: &Path, node: &str, command: &str) -> io::Result<Child> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--uts"]);
    if !is_root()? {
        unshare.arg("--map-root-user");
    }
    unshare
        .args(["sh", "-c", ENTER, "sh"])
        .arg(folder)
        .args([node, command])
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("USER", "root")
        .env("LOGNAME", "root")
        .env("SHELL", "/bin/bash")
        .env(SOCKET, folder.join("socket"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

fn is_root() -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

type Pipes = (tokio::process::ChildStdin, tokio::process::ChildStdout, tokio::process::ChildStderr);

fn pipes(child: &mut Child) -> io::Result<Pipes> {
    let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    pipes.map(|((stdin, stdout), stderr)| (stdin, stdout, stderr)).ok_or(io::ErrorKind::BrokenPipe.into())
}

/// A shell that was killed has the code that a shell would give it.
fn code(status: std::process::ExitStatus) -> u32 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(FAILED)
}
