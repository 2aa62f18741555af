//! What a supervised process says: taken down as it comes, at the pace of the disk. A process that
//! says more than that waits, and nobody else does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use super::{
    lines::{Line, Source, Splitter},
    log::Log,
};

/// Lines on their way to the disk.
const QUEUE: usize = 128;
/// Bytes that are read at once.
const READ: usize = 32 << 10;
/// How much of the end is kept for who asks why it failed.
const LAST_WORDS: usize = 1 << 10;
/// Time that readers have when the process has ended: somebody who left its group may hold the
/// other end.
const DRAIN: Duration = Duration::from_millis(500);

enum Entry {
    Line(Line),
    Flush(oneshot::Sender<()>),
}

/// The output of one process, through all its runs.
#[derive(Clone, Debug)]
pub struct Output {
    entries: mpsc::Sender<Entry>,
    log: Arc<Log>,
    last_words: Arc<Mutex<String>>,
}

impl Output {
    /// Takes output down in this log.
    pub fn new(log: Arc<Log>) -> Self {
        let (entries, inbox) = mpsc::channel(QUEUE);
        let last_words = Arc::default();
        tokio::spawn(take_down(inbox, log.clone(), Arc::clone(&last_words)));
        Self { entries, log, last_words }
    }

    /// Where it is taken down.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Adds a line of the supervisor's own.
    pub async fn note(&self, text: String) {
        send(&self.entries, Source::Monitor, text).await;
    }

    /// Takes down what comes from here, until its end.
    pub fn listen(&self, source: Source, from: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        tokio::spawn(listen(self.entries.clone(), source, from))
    }

    /// Waits until all has been taken down that these listeners hear.
    pub async fn drain(&self, listeners: Vec<JoinHandle<()>>) {
        for mut listener in listeners {
            if tokio::time::timeout(DRAIN, &mut listener).await.is_err() {
                listener.abort();
            }
        }
        let (done, is_done) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            drop(is_done.await);
        }
    }

    /// The last that the process said since this was last asked, at most 1 KiB.
    pub fn take_last_words(&self) -> String {
        std::mem::take(&mut *self.last_words.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn send(entries: &mpsc::Sender<Entry>, source: Source, text: String) {
    drop(entries.send(Entry::Line(Line { at: Timestamp::now(), source, text })).await);
}

async fn listen(entries: mpsc::Sender<Entry>, source: Source, mut from: impl AsyncRead + Unpin) {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; READ];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        for text in splitter.push(&buffer[..length]) {
            send(&entries, source, text).await;
        }
    }
    if let Some(text) = splitter.finish() {
        send(&entries, source, text).await;
    }
}

async fn take_down(mut inbox: mpsc::Receiver<Entry>, log: Arc<Log>, last_words: Arc<Mutex<String>>) {
    let mut entries = Vec::with_capacity(QUEUE);
    while inbox.recv_many(&mut entries, QUEUE).await > 0 {
        let mut written = Vec::new();
        let mut flushes = Vec::new();
        for entry in entries.drain(..) {
            match entry {
                Entry::Flush(done) => flushes.push(done),
                Entry::Line(line) => {
                    line.write(&mut written);
                    if line.source != Source::Monitor {
                        keep_end(&mut last_words.lock().unwrap_or_else(PoisonError::into_inner), &line.text);
                    }
                }
            }
        }
        if !written.is_empty() {
            let log = log.clone();
            match spawn_blocking(move || log.append(&written)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("output is lost: {error}"),
                Err(_) => return,
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

/// Adds a line, and drops what is too much at the beginning.
fn keep_end(end: &mut String, line: &str) {
    end.push_str(line);
    end.push('\n');
    if end.len() > LAST_WORDS {
        let from = end.ceil_char_boundary(end.len() - LAST_WORDS);
        end.drain(..from);
    }
}

#[cfg(test)]
mod tests {
    use berth_link::wire::process::LogLimits;

    use super::*;

    #[test]
    fn the_end_is_kept_whole() {
        let mut end = String::new();
        keep_end(&mut end, &"ü".repeat(600));
        assert_eq!(end.len(), 1023);
        keep_end(&mut end, "last");
        assert!(end.len() <= LAST_WORDS && end.ends_with("ü\nlast\n"));
    }

    #[tokio::test]
    async fn what_is_heard_is_in_the_log_after_a_drain() {
        let folder = tempfile::tempdir().unwrap();
        let limits = LogLimits { max_lines: 100_000, max_bytes: 16 << 20 };
        let log = Arc::new(Log::open(folder.path(), &"web".parse().unwrap(), limits).unwrap());
        let output = Output::new(log.clone());
        let said = "hello\n".repeat(10_000) + "unended";
        let listener = output.listen(Source::Stderr, std::io::Cursor::new(said));
        output.drain(vec![listener]).await;
        output.note("exited".to_owned()).await;
        output.drain(Vec::new()).await;
        let mut part = log.tail(20_000);
        let mut text = Vec::new();
        while !part.is_empty() {
            text.extend(part.read(1 << 20).unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines().rev();
        assert!(lines.next().unwrap().ends_with("[monitor] exited"));
        assert!(lines.next().unwrap().ends_with("[stderr] unended"));
        assert_eq!(lines.filter(|line| line.ends_with("Z] [stderr] hello")).count(), 10_000);
        assert!(output.take_last_words().ends_with("hello\nunended\n"));
    }
}
