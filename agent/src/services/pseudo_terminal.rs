//! A streaming command on a terminal of its own.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::{self, ExitStatus},
    thread,
};

use berth_link::wire::{exec::ExecStart, frame::Kind, terminal::Size};
use bytes::Bytes;
use futures::{Stream, stream};
use nix::sys::signal::Signal;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    command::Start,
    ending::{Leash, ended, until_quiet},
    exec_stream::{Input, Outlet, over},
    problem::Refused,
};
use crate::supervisor::group::Together;

/// Bytes that are read at once.
const READ: usize = 32 << 10;
/// Pieces on their way between a thread and a task.
const PIECES: usize = 4;
/// Stack of the threads that read, write and wait.
const STACK: usize = 256 << 10;
/// What a terminal takes as the end of input at the start of a line.
const END_OF_INPUT: Bytes = Bytes::from_static(&[4]);

/// Starts a command on a new terminal; it then lives in a task of its own.
pub fn start(
    start: Start,
    wanted: &ExecStart,
    size: Size,
    inputs: mpsc::Receiver<Input>,
    outlet: Outlet,
) -> Result<(), Refused> {
    let failed = |error: anyhow::Error| Refused::failed(format!("{error:#}"));
    let pair = native_pty_system().openpty(pty_size(size)).map_err(failed)?;
    let (reader, writer) =
        (pair.master.try_clone_reader().map_err(failed)?, pair.master.take_writer().map_err(failed)?);
    let child = pair.slave.spawn_command(builder(start, &wanted.command.env)).map_err(failed)?;
    drop(pair.slave);
    let mut leash = Leash::new(Together::session(child.process_id().unwrap_or_default()), Signal::SIGHUP);
    let output = output(reader)?;
    let to_writer = writing(writer)?;
    let mut status = waiting(child)?;
    let (time, stdin) = (wanted.timeout_ms, wanted.stdin);
    tokio::spawn(async move {
        let finished = CancellationToken::new();
        let output = until_quiet(Box::pin(output), finished.clone());
        let feeding = feed(pair.master, inputs, to_writer, stdin);
        let _feeding = AbortOnDropHandle::new(tokio::spawn(feeding));
        let waiting = async {
            let (status, timed_out) = tokio::select! {
                status = &mut status => (status, false),
                () = over(time) => {
                    leash.end().await;
                    (status.await, true)
                }
            };
            // As when a terminal is closed; those who want to stay do not listen to this.
            leash.hang_up();
            finished.cancel();
            ended(status.ok().flatten(), timed_out)
        };
        let all = async {
            let (ended, ()) = tokio::join!(waiting, outlet.pass(Kind::Stdout, output));
            outlet.end(&ended).await;
        };
        tokio::select! {
            () = all => {}
            () = outlet.left() => {}
        }
    });
    Ok(())
}

/// The terminal is the agent's doing, unless the client's `own` variables say otherwise.
fn builder(start: Start, own: &BTreeMap<String, String>) -> CommandBuilder {
    let mut command = CommandBuilder::new(start.program);
    command.args(start.arguments);
    command.cwd(start.folder);
    command.env_clear();
    for (name, value) in start.environment {
        command.env(name, value);
    }
    for (name, value) in [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")] {
        if !own.contains_key(name) {
            command.env(name, value);
        }
    }
    command
}

fn thread(name: &str) -> thread::Builder {
    thread::Builder::new().name(format!("exec-{name}")).stack_size(STACK)
}

fn output(mut reader: Box<dyn Read + Send>) -> Result<impl Stream<Item = Bytes>, Refused> {
    let (sender, receiver) = mpsc::channel(PIECES);
    thread("output").spawn(move || {
        let mut buffer = vec![0; READ];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                return;
            }
        }
    })?;
    Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }))
}

fn writing(mut writer: Box<dyn Write + Send>) -> Result<mpsc::Sender<Bytes>, Refused> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
    thread("input").spawn(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            if writer.write_all(&bytes).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

fn waiting(
    mut child: Box<dyn Child + Send + Sync>,
) -> Result<oneshot::Receiver<Option<ExitStatus>>, Refused> {
    let (sender, receiver) = oneshot::channel();
    thread("command").spawn(move || {
        // What the library makes of it has lost the number of the signal.
        let child: &mut dyn Child = &mut *child;
        let status = child.downcast_mut::<process::Child>().and_then(|child| child.wait().ok());
        sender.send(status)
    })?;
    Ok(receiver)
}

async fn feed(
    master: Box<dyn MasterPty + Send>,
    mut inputs: mpsc::Receiver<Input>,
    to_writer: mpsc::Sender<Bytes>,
    stdin: bool,
) {
    while let Some(input) = inputs.recv().await {
        let bytes = match input {
            Input::Resize(size) => {
                if let Err(error) = master.resize(pty_size(size)) {
                    tracing::debug!("a terminal keeps its size: {error}");
                }
                continue;
            }
            Input::Bytes(bytes) if stdin => bytes,
            Input::Closed if stdin => END_OF_INPUT,
            Input::Bytes(_) | Input::Closed => continue,
        };
        if to_writer.send(bytes).await.is_err() {
            return;
        }
    }
    // The terminal stays open for as long as the command is there.
    std::future::pending::<()>().await;
}

fn pty_size(size: Size) -> PtySize {
    let (cols, rows) = (size.cols.clamp(1, 1000), size.rows.clamp(1, 1000));
    PtySize { cols, rows, pixel_width: 0, pixel_height: 0 }
}
