//! What a supervised process says: taken down as it comes, at the pace of the disk. A process that
//! says more than that waits, and nobody else does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_link::wire::process::{DetectedErrors, ErrorDetection};
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{
    errors::{Book, Detector},
    lines::{Line, Source, Splitter},
    log::Log,
};

/// Lines on their way to the disk.
const QUEUE: usize = 128;
/// Bytes that are read at once.
const READ: usize = 32 << 10;
/// After so much silence what is no whole line yet is taken for one.
const SILENCE: Duration = Duration::from_secs(2);
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
    heard: Arc<Mutex<Heard>>,
}

/// What the lines told.
#[derive(Debug)]
struct Heard {
    detector: Detector,
    errors: Book,
    last_words: String,
}

/// What the keeper of the process is told of its output.
#[derive(Debug)]
pub struct News {
    /// A line that says that the process is beyond help; none is missed, but of several only one
    /// is told.
    pub fatal: mpsc::Receiver<String>,
    /// Whenever there is a new error.
    pub errors: watch::Receiver<()>,
}

struct Teller {
    fatal: mpsc::Sender<String>,
    errors: watch::Sender<()>,
}

impl Output {
    /// Takes output down in this log, and finds errors in it.
    pub fn new(log: Arc<Log>, errors: &ErrorDetection) -> (Self, News) {
        let (entries, inbox) = mpsc::channel(QUEUE);
        let (tell_fatal, fatal) = mpsc::channel(1);
        let (tell_errors, errors_seen) = watch::channel(());
        let heard = Arc::new(Mutex::new(Heard {
            detector: Detector::new(errors),
            errors: Book::default(),
            last_words: String::new(),
        }));
        let teller = Teller { fatal: tell_fatal, errors: tell_errors };
        tokio::spawn(take_down(inbox, log.clone(), Arc::clone(&heard), teller));
        (Self { entries, log, heard }, News { fatal, errors: errors_seen })
    }

    /// Sets what counts as an error from now on.
    pub fn look_for(&self, errors: &ErrorDetection) {
        lock(&self.heard).detector = Detector::new(errors);
    }

    /// The errors so far.
    pub fn errors(&self) -> DetectedErrors {
        lock(&self.heard).errors.errors()
    }

    /// How many errors there were, and what the newest says.
    pub fn error_summary(&self) -> (u64, Option<String>) {
        lock(&self.heard).errors.summary()
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
            if timeout(DRAIN, &mut listener).await.is_err() {
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
        std::mem::take(&mut lock(&self.heard).last_words)
    }
}

async fn send(entries: &mpsc::Sender<Entry>, source: Source, text: String) {
    drop(entries.send(Entry::Line(Line { at: Timestamp::now(), source, text })).await);
}

async fn listen(entries: mpsc::Sender<Entry>, source: Source, mut from: impl AsyncRead + Unpin) {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; READ];
    loop {
        match timeout(SILENCE, from.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => {
                for text in splitter.push(&buffer[..length]) {
                    send(&entries, source, text).await;
                }
            }
            Ok(_) => break,
            // A question, perhaps, that waits for an answer.
            Err(_) => {
                if let Some(text) = splitter.finish() {
                    send(&entries, source, text).await;
                }
            }
        }
    }
    if let Some(text) = splitter.finish() {
        send(&entries, source, text).await;
    }
}

async fn take_down(
    mut inbox: mpsc::Receiver<Entry>,
    log: Arc<Log>,
    heard: Arc<Mutex<Heard>>,
    teller: Teller,
) {
    let mut entries = Vec::with_capacity(QUEUE);
    let mut is_lost = false;
    while inbox.recv_many(&mut entries, QUEUE).await > 0 {
        let mut written = Vec::new();
        let mut flushes = Vec::new();
        for entry in entries.drain(..) {
            match entry {
                Entry::Flush(done) => flushes.push(done),
                Entry::Line(line) => {
                    line.write(&mut written);
                    if line.source != Source::Monitor {
                        lock(&heard).hear(&line, &teller);
                    }
                }
            }
        }
        if !written.is_empty() {
            let log = log.clone();
            match spawn_blocking(move || log.append(&written)).await {
                Ok(Ok(())) => is_lost = false,
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut is_lost, true) {
                        tracing::warn!("output is lost: {error}");
                    }
                }
                Err(_) => return,
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

impl Heard {
    fn hear(&mut self, line: &Line, teller: &Teller) {
        keep_end(&mut self.last_words, &line.text);
        let Some(found) = self.detector.find(&line.text) else { return };
        if found.fatal {
            // One is enough, and one is there when there is no room.
            drop(teller.fatal.try_send(found.message.clone()));
        }
        self.errors.add(found, line.at);
        teller.errors.send_replace(());
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
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
    use tokio::io::AsyncWriteExt;

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
        let nothing = ErrorDetection { json: false, text: false, fatal: Vec::new() };
        let (output, _news) = Output::new(log.clone(), &nothing);
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
    #[tokio::test]
    async fn a_question_is_heard_before_its_line_ends() {
        let (entries, mut inbox) = mpsc::channel(10);
        let (mut process, from) = tokio::io::duplex(64);
        tokio::spawn(listen(entries, Source::Stdout, from));
        process.write_all(b"done\nsure? ").await.unwrap();
        for expected in ["done", "sure? "] {
            let Some(Entry::Line(line)) = inbox.recv().await else { panic!("no line") };
            assert_eq!(line.text, expected);
        }
    }
}
