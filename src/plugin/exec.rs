//! `exec`: a command in a workspace, whose exit code is ours.

use std::collections::BTreeMap;

use berth_link::wire::exec::ExecResult;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    arguments::{Execution, Output},
    channels,
    client::{Cluster, Subresources},
    ending::{self, Ending},
    exit::{Failure, Kind},
    local,
};

/// Runs it; gives its exit code.
pub async fn run(cluster: &Cluster, wanted: &Execution) -> Result<u8, Failure> {
    let workspace = cluster.workspace(&wanted.workspace);
    match wanted.output {
        Output::Json => waited_for(&workspace, wanted).await,
        Output::Text => stream(&workspace, query(wanted), wanted.stdin, wanted.tty).await,
    }
}

/// A login shell on a terminal of its own.
pub async fn login_shell(workspace: &Subresources<'_>) -> Result<u8, Failure> {
    let query = ["stdin", "stdout", "tty"].map(|name| (name, "true".to_owned())).to_vec();
    stream(workspace, query, true, true).await
}

fn query(wanted: &Execution) -> Vec<(&'static str, String)> {
    let mut query: Vec<_> = wanted.command.iter().map(|word| ("command", word.clone())).collect();
    query.extend(wanted.cwd.iter().map(|folder| ("cwd", folder.clone())));
    query.extend(wanted.env.iter().map(|(name, value)| ("env", format!("{name}={value}"))));
    query.extend(wanted.timeout.map(|time| ("timeoutMs", time.as_millis().to_string())));
    query.push(("stdin", wanted.stdin.to_string()));
    query.push(("stdout", "true".to_owned()));
    query.push(("stderr", (!wanted.tty).to_string()));
    query.push(("tty", wanted.tty.to_string()));
    query
}

async fn waited_for(workspace: &Subresources<'_>, wanted: &Execution) -> Result<u8, Failure> {
    let stdin = match wanted.stdin {
        true => Some(std::io::read_to_string(std::io::stdin())?),
        false => None,
    };
    let body = json!({
        "command": wanted.command,
        "cwd": wanted.cwd,
        "env": wanted.env.iter().cloned().collect::<BTreeMap<_, _>>(),
        "stdin": stdin,
        "timeoutMs": wanted.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    });
    let result: ExecResult = serde_json::from_slice(&workspace.post("exec", &body).await?)?;
    local::json(&result)?;
    if result.timed_out {
        return Ok(Kind::NotReady.code());
    }
    let code = result.exit_code.or(result.signal.map(|signal| signal.saturating_add(128)));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

async fn stream(
    workspace: &Subresources<'_>,
    mut query: Vec<(&str, String)>,
    stdin: bool,
    tty: bool,
) -> Result<u8, Failure> {
    if tty {
        let size = local::size();
        query.extend([("cols", size.cols.to_string()), ("rows", size.rows.to_string())]);
    }
    let (mut sender, mut receiver) = channels::open(workspace, "exec", &query).await?;
    let _raw = (tty && stdin).then(local::RawTerminal::take).transpose()?;
    let mut input = stdin.then(local::input);
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        tokio::select! {
            message = receiver.next() => match message {
                Some((channels::STDOUT, bytes)) => local::print(&bytes)?,
                Some((channels::STDERR, bytes)) => local::print_error(&bytes),
                Some((channels::STATUS, bytes)) => return match ending::of(&bytes, &workspace.subject) {
                    Ending::Exited(code) => Ok(code),
                    Ending::Broken(why) => Err(Failure::failed(why)),
                    Ending::Refused(failure) => Err(failure),
                },
                Some(_) => {}
                None => return Err(Failure::failed("the connection broke; the command may go on")),
            },
            Some(bytes) = next(&mut input) => match bytes {
                // Where it can not be sent, the other half says why.
                Some(bytes) => drop(sender.send(channels::STDIN, &bytes).await),
                None => {
                    input = None;
                    let _ = sender.end(channels::STDIN).await;
                }
            },
            _ = resized.recv(), if tty => drop(sender.resize(local::size()).await),
        }
    }
}

/// The next piece of input, or its end; nothing, for ever, where none is wanted.
async fn next(input: &mut Option<tokio::sync::mpsc::Receiver<bytes::Bytes>>) -> Option<Option<bytes::Bytes>> {
    match input {
        Some(input) => Some(input.recv().await),
        None => std::future::pending().await,
    }
}
