//! `POST /v1/exec`: a command that is waited for.

use std::{process::Stdio, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use berth_link::wire::exec::{ExecRequest, ExecResult};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use nix::sys::signal::Signal;
use tokio::{io::AsyncWriteExt, process::ChildStdin, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Services,
    command::Start,
    ending::{Leash, ended, until_quiet},
    pipes,
    problem::Refused,
};
use crate::supervisor::group::Together;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_KEPT: u64 = 64 << 10;
const MOST_KEPT: u64 = 1 << 20;

/// Runs a command to its end. When the client goes away, so does the command.
pub async fn run(
    State(services): State<Arc<Services>>,
    request: Result<Json<ExecRequest>, JsonRejection>,
) -> Result<Json<ExecResult>, Refused> {
    let Json(request) = request?;
    let start = Start::new(&request.command, &services.settings, false)?;
    let time = request.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let kept =
        usize::try_from(request.max_bytes.unwrap_or(DEFAULT_KEPT).min(MOST_KEPT)).unwrap_or(usize::MAX);
    Ok(Json(finish(&start, request.stdin, time, kept).await?))
}

async fn finish(
    start: &Start,
    input: Option<String>,
    time: Duration,
    kept: usize,
) -> Result<ExecResult, Refused> {
    let began = Instant::now();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = start.piped(stdin).spawn()?;
    let mut leash = Leash::new(Together::group(child.id().unwrap_or_default()), Signal::SIGTERM);
    let over = CancellationToken::new();
    let stdout = keep_end(until_quiet(pipes::read(child.stdout.take()), over.clone()), kept);
    let stderr = keep_end(until_quiet(pipes::read(child.stderr.take()), over.clone()), kept);
    // What the command does not read is nothing to wait for.
    let _feeding = AbortOnDropHandle::new(tokio::spawn(feed(child.stdin.take(), input)));
    let waiting = async {
        let (status, timed_out) = tokio::select! {
            status = child.wait() => (status, false),
            () = tokio::time::sleep(time) => {
                // Those who waited for their children to end would otherwise not be reaped.
                let (_, status) = tokio::join!(leash.end(), child.wait());
                (status, true)
            }
        };
        leash.release();
        over.cancel();
        (status, timed_out)
    };
    let ((status, timed_out), stdout, stderr) = tokio::join!(waiting, stdout, stderr);
    let ended = ended(Some(status?), timed_out);
    Ok(ExecResult {
        exit_code: ended.exit_code,
        signal: ended.signal,
        stdout: stdout.text(),
        stderr: stderr.text(),
        truncated: stdout.cut || stderr.cut,
        timed_out,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

async fn feed(stdin: Option<ChildStdin>, input: Option<String>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        // That it reads no more is its own affair.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
}

/// The end of some output.
#[derive(Debug, Default)]
struct End {
    bytes: Vec<u8>,
    cut: bool,
}

impl End {
    fn push(&mut self, bytes: &[u8], most: usize) {
        self.bytes.extend_from_slice(bytes);
        // Not at every piece: moving the rest costs.
        if self.bytes.len() > most.saturating_mul(2) {
            self.cut_to(most);
        }
    }

    fn cut_to(&mut self, most: usize) {
        let beyond = self.bytes.len().saturating_sub(most);
        self.bytes.drain(..beyond);
        self.cut |= beyond > 0;
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

async fn keep_end(output: impl Stream<Item = Bytes>, most: usize) -> End {
    let mut output = std::pin::pin!(output);
    let mut end = End::default();
    while let Some(bytes) = output.next().await {
        end.push(&bytes, most);
    }
    end.cut_to(most);
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10),
            most in 1_usize..30,
        ) {
            let mut end = End::default();
            for piece in &pieces {
                end.push(piece, most);
            }
            end.cut_to(most);
            let all = pieces.concat();
            prop_assert_eq!(&end.bytes, &all[all.len().saturating_sub(most)..]);
            prop_assert_eq!(end.cut, all.len() > most);
        }
    }
}
