//! How what was started ends: by itself, or because nobody waits for it any more.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use berth_link::wire::exec::Ended;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use nix::sys::signal::Signal;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::supervisor::group::Together;

/// Time between asking to end and killing.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// When a command has ended but others still hold its output, so much silence ends that too.
const QUIET: Duration = Duration::from_millis(300);

/// Ends all these processes when it is dropped before they have ended by themselves.
#[derive(Debug)]
pub struct Leash {
    processes: Option<Together>,
    signal: Signal,
}

impl Leash {
    /// Holds these, and asks them to end with this signal.
    pub fn new(processes: Together, signal: Signal) -> Self {
        Self { processes: Some(processes), signal }
    }

    /// Lets go. Must come before the leader's number can be given to another process.
    pub fn release(&mut self) {
        self.processes = None;
    }

    /// Lets go, and tells those that are left that their terminal is gone.
    pub fn hang_up(&mut self) {
        if let Some(processes) = self.processes.take() {
            processes.signal(Signal::SIGHUP);
        }
    }

    /// Ends them now.
    pub async fn end(&mut self) {
        // Still held while this waits, so that being dropped meanwhile leaves nobody behind.
        if let Some(processes) = self.processes {
            processes.end(self.signal, PATIENCE).await;
        }
        self.processes = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let (Some(processes), signal) = (self.processes.take(), self.signal) else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { processes.end(signal, PATIENCE).await })),
            Err(_) => processes.signal(Signal::SIGKILL),
        }
    }
}

/// The same output up to its end or, once the command has ended, until nothing more comes:
/// something in the background may hold it open for ever.
pub fn until_quiet(
    output: impl Stream<Item = Bytes> + Unpin,
    ended: CancellationToken,
) -> impl Stream<Item = Bytes> {
    stream::unfold((output, ended), |(mut output, ended)| async move {
        let bytes = tokio::select! {
            biased;
            bytes = output.next() => bytes,
            () = ended.cancelled() => timeout(QUIET, output.next()).await.ok().flatten(),
        };
        Some((bytes?, (output, ended)))
    })
}

/// How a process ended, by itself or because its time was over.
pub fn ended(status: Option<ExitStatus>, timed_out: bool) -> Ended {
    Ended {
        exit_code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        timed_out,
    }
}
