//! A streaming command on pipes.

use std::process::Stdio;

use berth_link::wire::{exec::ExecStart, frame::Kind};
use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    process::ChildStdin,
    sync::mpsc,
};
use tokio_util::{io::ReaderStream, sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    command::Start,
    ending::{Leash, ended, until_quiet},
    exec_stream::{Input, Outlet, over},
    problem::Refused,
};
use crate::supervisor::group::Together;

/// Bytes that are read at once.
const READ: usize = 32 << 10;

/// What comes out of a pipe.
pub fn read<R: AsyncRead + Unpin>(pipe: Option<R>) -> impl Stream<Item = Bytes> + Unpin {
    stream::iter(pipe)
        .flat_map(|pipe| ReaderStream::with_capacity(pipe, READ))
        .take_while(|read| future::ready(read.is_ok()))
        .filter_map(|read| future::ready(read.ok()))
}

/// Starts a command, which then lives in a task of its own.
pub fn start(
    start: &Start,
    wanted: &ExecStart,
    inputs: mpsc::Receiver<Input>,
    outlet: Outlet,
) -> Result<(), Refused> {
    let stdin = if wanted.stdin { Stdio::piped() } else { Stdio::null() };
    let mut child = start.piped(stdin).spawn()?;
    let mut leash = Leash::new(Together::group(child.id().unwrap_or_default()), Signal::SIGHUP);
    let time = wanted.timeout_ms;
    tokio::spawn(async move {
        let finished = CancellationToken::new();
        let stdout = until_quiet(read(child.stdout.take()), finished.clone());
        let stderr = until_quiet(read(child.stderr.take()), finished.clone());
        let _feeding = AbortOnDropHandle::new(tokio::spawn(feed(child.stdin.take(), inputs)));
        let waiting = async {
            let (status, timed_out) = tokio::select! {
                status = child.wait() => (status, false),
                () = over(time) => {
                    let (_, status) = tokio::join!(leash.end(), child.wait());
                    (status, true)
                }
            };
            leash.release();
            finished.cancel();
            ended(status.ok(), timed_out)
        };
        let output = async {
            let (ended, (), ()) =
                tokio::join!(waiting, outlet.pass(Kind::Stdout, stdout), outlet.pass(Kind::Stderr, stderr));
            outlet.end(&ended).await;
        };
        // When nobody listens any more, all of this is dropped, and the leash with it.
        tokio::select! {
            () = output => {}
            () = outlet.left() => {}
        }
    });
    Ok(())
}

async fn feed(mut stdin: Option<ChildStdin>, mut inputs: mpsc::Receiver<Input>) {
    while let Some(input) = inputs.recv().await {
        match (input, &mut stdin) {
            (Input::Bytes(bytes), Some(pipe)) => {
                if pipe.write_all(&bytes).await.is_err() {
                    stdin = None;
                }
            }
            (Input::Closed, _) => stdin = None,
            (Input::Bytes(_), None) | (Input::Resize(_), _) => {}
        }
    }
}
