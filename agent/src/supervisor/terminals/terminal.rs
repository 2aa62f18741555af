//! One terminal: a login shell on a pseudo-terminal, and the end of its output.

use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use berth_link::wire::{
    exec::Ended,
    terminal::{Size, Terminal as Shown},
};
use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::ring::{Reading, Ring};
use crate::supervisor::{Settings, group::Together, surroundings};

/// So many bytes of output are kept.
const KEPT: usize = 1 << 20;
/// Bytes that are read at once.
const READ: usize = 32 << 10;
/// Inputs on their way to the shell.
const INPUTS: usize = 16;
/// Stack of the threads that read, write and wait.
const STACK: usize = 256 << 10;
/// Time for the last output, when the shell has ended: others may still hold its terminal.
const DRAIN: Duration = Duration::from_millis(300);
/// Time between hanging up and killing.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far a terminal has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Offset behind its last byte of output.
    pub offset: u64,
    /// How it ended; there is no more output then.
    pub ended: Option<Ended>,
}

/// A terminal.
pub struct Terminal {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    created_at: Timestamp,
    leader: u32,
    output: Mutex<Ring>,
    progress: watch::Sender<Progress>,
    input: mpsc::Sender<Bytes>,
    master: Mutex<Box<dyn MasterPty + Send>>,
    size: Mutex<Size>,
    viewers: AtomicU32,
}

/// What happens in the threads around a terminal.
#[derive(Debug)]
pub struct Threads {
    output_ended: oneshot::Receiver<()>,
    shell_ended: oneshot::Receiver<Ended>,
}

impl Terminal {
    /// Starts a login shell on a new terminal.
    pub fn open(name: &str, size: Size, settings: &Settings) -> anyhow::Result<(Arc<Self>, Threads)> {
        let size = bounded(size);
        let pair = native_pty_system().openpty(pty_size(size)).context("no terminal is to be had")?;
        let child = pair.slave.spawn_command(shell(settings)).context("the shell can not be started")?;
        drop(pair.slave);
        let (mut reader, writer) = (pair.master.try_clone_reader()?, pair.master.take_writer()?);
        let (input, inputs) = mpsc::channel(INPUTS);
        let terminal = Arc::new(Self {
            name: name.to_owned(),
            id: format!("{:016x}", rand::random::<u64>()),
            created_at: Timestamp::now(),
            leader: child.process_id().context("the shell has no process")?,
            output: Mutex::new(Ring::new(KEPT)),
            progress: watch::Sender::default(),
            input,
            master: Mutex::new(pair.master),
            size: Mutex::new(size),
            viewers: AtomicU32::default(),
        });
        let (tell_output_ended, output_ended) = oneshot::channel();
        let (tell_shell_ended, shell_ended) = oneshot::channel();
        let start = |name: &str| thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        start("terminal-shell").spawn(move || tell_shell_ended.send(wait(child)))?;
        start("terminal-input").spawn(move || write_all(writer, inputs))?;
        let heard = Arc::clone(&terminal);
        start("terminal-output").spawn(move || {
            let mut buffer = vec![0; READ];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                heard.hear(&buffer[..length]);
            }
            tell_output_ended.send(())
        })?;
        Ok((terminal, Threads { output_ended, shell_ended }))
    }

    /// Waits until the shell has ended and its last output is there.
    pub async fn shell_ended(&self, threads: Threads) -> Ended {
        let ended = threads.shell_ended.await.unwrap_or_default();
        // Those who want to stay do not listen to this.
        Together::session(self.leader).signal(Signal::SIGHUP);
        drop(timeout(DRAIN, threads.output_ended).await);
        ended
    }

    /// Tells everybody that it has ended.
    pub fn tell_ended(&self, ended: Ended) {
        self.progress.send_modify(|progress| progress.ended = Some(ended));
    }

    /// Hangs up, and kills what is left of its session after a while.
    pub async fn end(&self) {
        Together::session(self.leader).end(Signal::SIGHUP, PATIENCE).await;
        drop(self.progress.subscribe().wait_for(|progress| progress.ended.is_some()).await);
    }

    /// Gives the shell something to read. It waits until the shell has read enough of what came
    /// before.
    pub async fn write(&self, bytes: Bytes) {
        drop(self.input.send(bytes).await);
    }

    /// Sets its size.
    pub fn resize(&self, size: Size) {
        let size = bounded(size);
        *lock(&self.size) = size;
        if let Err(error) = lock(&self.master).resize(pty_size(size)) {
            tracing::debug!("a terminal keeps its size: {error}");
        }
    }

    /// What it has said from this offset on, up to this many bytes.
    pub fn read(&self, offset: u64, most: usize) -> Reading {
        lock(&self.output).read(offset, most)
    }

    /// The offset to begin with, for somebody who has seen all before `since`.
    pub fn begin(&self, since: Option<u64>) -> u64 {
        let output = lock(&self.output);
        match since {
            Some(offset) if offset <= output.end() => offset.max(output.start()),
            _ => output.start(),
        }
    }

    /// Tells how far it has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Counts a viewer, until what this gives is dropped.
    pub fn seen(self: &Arc<Self>) -> Viewer {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Viewer(Arc::clone(self))
    }

    /// As it is shown to others.
    pub fn shown(&self) -> Shown {
        Shown {
            name: self.name.clone(),
            id: self.id.clone(),
            created_at: self.created_at,
            offset: self.progress.borrow().offset,
            viewers: self.viewers.load(Ordering::Relaxed),
            size: *lock(&self.size),
        }
    }

    fn hear(&self, bytes: &[u8]) {
        let offset = {
            let mut output = lock(&self.output);
            output.push(bytes);
            output.end()
        };
        self.progress.send_modify(|progress| progress.offset = offset);
    }
}

/// Somebody who looks at a terminal.
pub struct Viewer(Arc<Terminal>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn shell(settings: &Settings) -> CommandBuilder {
    let mut command = CommandBuilder::new(surroundings::login_shell(settings));
    command.arg("-l");
    command.env_clear();
    for (name, value) in surroundings::environment(settings, std::env::vars_os()) {
        command.env(name, value);
    }
    command.env("TERM", "xterm-256color");
    command.env("COLORTERM", "truecolor");
    command.cwd(if settings.workspace.is_dir() { &settings.workspace } else { &settings.home });
    command
}

fn wait(mut child: Box<dyn Child + Send + Sync>) -> Ended {
    // What the library makes of it has lost the number of the signal.
    let child: &mut dyn Child = &mut *child;
    let Some(child) = child.downcast_mut::<process::Child>() else { return Ended::default() };
    match child.wait() {
        Ok(status) => Ended { exit_code: status.code(), signal: status.signal(), timed_out: false },
        Err(_) => Ended::default(),
    }
}

fn write_all(mut writer: Box<dyn Write + Send>, mut inputs: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = inputs.blocking_recv() {
        if writer.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn bounded(size: Size) -> Size {
    Size { cols: size.cols.clamp(1, 1000), rows: size.rows.clamp(1, 1000) }
}

fn pty_size(size: Size) -> PtySize {
    PtySize { cols: size.cols, rows: size.rows, pixel_width: 0, pixel_height: 0 }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
