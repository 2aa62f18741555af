//! One run of a supervised process, from its start until nothing of its group is left, nor of those
//! who left the group.

use std::{
    os::unix::process::ExitStatusExt, path::Path, process::ExitStatus, process::Stdio, time::Duration,
};

use berth_link::wire::process::{Exit, ProcessSpec};
use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    group::{self, Identity, Together},
    lines::Source,
    output::Output,
    surroundings,
};

/// Time between asking a group to end and killing it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The same for what is left in the group of a process that has ended by itself.
const PATIENCE_WITH_REST: Duration = Duration::from_secs(2);

/// A running process.
#[derive(Debug)]
pub struct Run {
    /// The leader of its group.
    pub leader: Identity,
    began: Instant,
    end: CancellationToken,
    over: JoinHandle<Exit>,
}

impl Run {
    /// Starts a process as the leader of a group of its own. Otherwise says why not.
    pub fn start(spec: &ProcessSpec, settings: &Settings, output: &Output) -> Result<Self, String> {
        if !Path::new(&spec.workdir).is_dir() {
            return Err(format!("there is no folder {}", spec.workdir));
        }
        let shell = surroundings::command_shell();
        let mut child = Command::new(shell)
            .arg("-lc")
            .arg(&spec.command)
            .current_dir(&spec.workdir)
            .env_clear()
            .envs(surroundings::environment(settings, std::env::vars_os()))
            .envs(surroundings::process_environment(spec, settings))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{shell} can not be started: {error}"))?;
        let leader = child.id().and_then(Identity::of).ok_or("it can not be found in /proc")?;
        let mut listeners = Vec::new();
        listeners.extend(child.stdout.take().map(|from| output.listen(Source::Stdout, from)));
        listeners.extend(child.stderr.take().map(|from| output.listen(Source::Stderr, from)));
        let end = CancellationToken::new();
        let over = tokio::spawn({
            let (output, end) = (output.clone(), end.clone());
            let mark = surroundings::mark_of(&spec.id, settings);
            async move {
                let exit = until_all_ended(child, Together::group(leader.pid), end, &output).await;
                let strays = group::groups_where(|variable| variable == mark.as_bytes());
                group::end_groups(strays, PATIENCE_WITH_REST).await;
                output.drain(listeners).await;
                exit
            }
        });
        Ok(Self { leader, began: Instant::now(), end, over })
    }

    /// Asks it to end. [`Self::over`] tells when it has.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// How long it has been running.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until nothing of it is left, and all its output is in the log.
    pub async fn over(&mut self) -> Exit {
        (&mut self.over).await.unwrap_or_default()
    }
}

async fn until_all_ended(mut child: Child, group: Together, end: CancellationToken, output: &Output) -> Exit {
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        () = end.cancelled() => None,
    };
    let (status, patience) = match by_itself {
        Some(status) => (status, PATIENCE_WITH_REST),
        None => {
            let asked = Instant::now();
            group.ask(Signal::SIGTERM);
            let status = match timeout(PATIENCE, child.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    output
                        .note(format!("killed: still running {PATIENCE:?} after it was asked to end"))
                        .await;
                    group.signal(Signal::SIGKILL);
                    child.wait().await
                }
            };
            (status, PATIENCE.saturating_sub(asked.elapsed()))
        }
    };
    if group.end(Signal::SIGTERM, patience).await {
        output.note("killed what was left of its process group".to_owned()).await;
    }
    status.map(exit).unwrap_or_default()
}

fn exit(status: ExitStatus) -> Exit {
    Exit { code: status.code(), signal: status.signal() }
}
