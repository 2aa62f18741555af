//! The log of one process: a file of lines with a bound, and byte offsets that only grow.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use berth_link::wire::process::{LogLimits, ProcessId};
use bytes::Bytes;
use tokio::sync::watch;

use super::files;

/// When a log is over its bound, this much of it stays, in hundredths.
const KEPT: u64 = 70;
/// Bounds of the bounds.
const LINES: std::ops::RangeInclusive<u64> = 10..=1_000_000;
const BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);

/// A log. Every line ends with a line feed.
#[derive(Debug)]
pub struct Log {
    store: Mutex<Store>,
    /// Apart, so that nobody who sets it waits for the disk.
    limits: Mutex<LogLimits>,
    growth: watch::Sender<Growth>,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Growth {
    /// Offset of its end.
    pub end: u64,
    /// Nothing more is added to it.
    pub removed: bool,
}

#[derive(Debug)]
struct Store {
    path: PathBuf,
    file: Arc<File>,
    /// Offset of the first byte in the file.
    start: u64,
    /// Length of each line in the file.
    lines: VecDeque<u32>,
    /// Length of the file.
    length: u64,
}

/// A part of a log, as it stood when it was asked for: what is dropped later is still in it.
#[derive(Clone, Debug)]
pub struct Part {
    file: Arc<File>,
    file_start: u64,
    /// Offset of its next byte.
    pub from: u64,
    /// Offset behind its last byte.
    pub to: u64,
}

impl Log {
    /// Opens a log, with what a predecessor left in it.
    pub fn open(folder: &Path, id: &ProcessId, limits: LogLimits) -> io::Result<Self> {
        let store = Store::open(folder.join(format!("{id}.log")))?;
        Ok(Self {
            growth: watch::Sender::new(Growth { end: store.end(), removed: false }),
            store: Mutex::new(store),
            limits: Mutex::new(bounded(limits)),
        })
    }

    /// Sets its bound, which counts from the next line on.
    pub fn limit(&self, limits: LogLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = bounded(limits);
    }

    /// Adds whole lines. It writes to disk: not for tasks that must not wait.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = self.lock();
        let done = store.append(lines, limits);
        self.growth.send_modify(|growth| growth.end = store.end());
        done
    }

    /// Removes its files.
    pub fn remove(&self) -> io::Result<()> {
        self.growth.send_modify(|growth| growth.removed = true);
        let store = self.lock();
        fs::remove_file(&store.path)?;
        fs::remove_file(starts_path(&store.path))
    }

    /// The last lines.
    pub fn tail(&self, lines: u64) -> Part {
        let store = self.lock();
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let length: u64 = store.lines.iter().rev().take(lines).map(|length| u64::from(*length)).sum();
        store.part(store.end() - length)
    }

    /// What there is from this offset on, as far as it is still kept.
    pub fn since(&self, offset: u64) -> Part {
        let store = self.lock();
        store.part(offset.clamp(store.start, store.end()))
    }

    /// Tells when the log has grown.
    pub fn grows(&self) -> watch::Receiver<Growth> {
        self.growth.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = open_file(&path)?;
        let mut content = Vec::new();
        (&mut file).take(BYTES.end() * 2).read_to_end(&mut content)?;
        // A predecessor that was killed may have left half a line.
        let length = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        content.truncate(length);
        file.set_len(length as u64)?;
        let inode = file.metadata()?.ino();
        let start =
            read_starts(&path).into_iter().find(|(known, _)| *known == inode).map_or(0, |found| found.1);
        let store = Self {
            path,
            file: Arc::new(file),
            start,
            lines: line_lengths(&content).collect(),
            length: length as u64,
        };
        store.write_starts(&[(inode, start)])?;
        Ok(store)
    }

    fn end(&self) -> u64 {
        self.start + self.length
    }

    fn part(&self, from: u64) -> Part {
        Part { file: self.file.clone(), file_start: self.start, from, to: self.end() }
    }

    fn append(&mut self, lines: &[u8], limits: LogLimits) -> io::Result<()> {
        if let Err(error) = self.file.as_ref().write_all(lines) {
            // Half a line would spoil what follows.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.lines.extend(line_lengths(lines));
        self.length += lines.len() as u64;
        if self.length <= limits.max_bytes && self.lines.len() as u64 <= limits.max_lines {
            return Ok(());
        }
        let trimmed = self.trim(limits);
        if trimmed.is_err() {
            // Better no log than one without a bound: its folder may be gone, or the disk full.
            self.file.set_len(0)?;
            self.start += std::mem::take(&mut self.length);
            self.lines.clear();
        }
        trimmed
    }

    /// Drops the oldest lines. The file is replaced, so that those who read the old one can go on.
    fn trim(&mut self, limits: LogLimits) -> io::Result<()> {
        let (bytes, count) = (limits.max_bytes * KEPT / 100, limits.max_lines * KEPT / 100);
        let (mut dropped, mut dropped_lines) = (0, 0);
        for (line, length) in self.lines.iter().enumerate() {
            if self.length - dropped <= bytes && (self.lines.len() - line) as u64 <= count {
                break;
            }
            dropped += u64::from(*length);
            dropped_lines = line + 1;
        }
        let new_path = self.path.with_extension("log.trimmed");
        drop(fs::remove_file(&new_path));
        let new = open_file(&new_path)?;
        let mut position = dropped;
        let mut buffer = vec![0; 256 << 10];
        while position < self.length {
            let read = self.file.read_at(&mut buffer, position)?;
            if read == 0 {
                break;
            }
            (&new).write_all(&buffer[..read])?;
            position += read as u64;
        }
        let start = self.start + dropped;
        // Whichever of the two files is found there later, its start is known.
        self.write_starts(&[(self.file.metadata()?.ino(), self.start), (new.metadata()?.ino(), start)])?;
        fs::rename(&new_path, &self.path)?;
        self.file = Arc::new(new);
        self.lines.drain(..dropped_lines);
        self.length -= dropped;
        self.start = start;
        Ok(())
    }

    fn write_starts(&self, starts: &[(u64, u64)]) -> io::Result<()> {
        files::replace(&starts_path(&self.path), &serde_json::to_vec(starts)?)
    }
}

impl Part {
    /// Its next bytes, up to this many; none at its end. It reads from disk: not for tasks that
    /// must not wait.
    pub fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.to - self.from).unwrap_or(usize::MAX).min(most);
        let mut buffer = vec![0; length];
        let read = self.file.read_at(&mut buffer, self.from - self.file_start)?;
        buffer.truncate(read);
        self.from += read as u64;
        Ok(buffer.into())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

fn bounded(limits: LogLimits) -> LogLimits {
    LogLimits {
        max_lines: limits.max_lines.clamp(*LINES.start(), *LINES.end()),
        max_bytes: limits.max_bytes.clamp(*BYTES.start(), *BYTES.end()),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

/// Where the offsets of the first bytes are kept, by the inode of the log's file.
fn starts_path(path: &Path) -> PathBuf {
    path.with_extension("log.start")
}

fn read_starts(path: &Path) -> Vec<(u64, u64)> {
    let content = fs::read(starts_path(path)).unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

fn line_lengths(lines: &[u8]) -> impl Iterator<Item = u32> + '_ {
    lines.split_inclusive(|byte| *byte == b'\n').map(|line| u32::try_from(line.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits { max_lines: 100, max_bytes: 64 << 10 };

    fn open(folder: &Path) -> Log {
        Log::open(folder, &"web".parse().unwrap(), LIMITS).unwrap()
    }

    fn text(mut part: Part) -> String {
        let mut text = Vec::new();
        while !part.is_empty() {
            text.extend(part.read(7).unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_end_and_what_is_new_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        assert!(log.tail(5).is_empty());
        log.append(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(text(log.tail(2)), "two\nthree\n");
        let seen = log.tail(2).to;
        log.append(b"four\n").unwrap();
        assert_eq!(text(log.since(seen)), "four\n");
        assert_eq!(text(log.since(u64::MAX)), "");
    }

    #[test]
    fn it_stays_within_its_bound_and_offsets_only_grow() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut end = 0;
        for number in 0..101 {
            log.append(format!("{number}\n").as_bytes()).unwrap();
            assert!(log.tail(1).to > end);
            end = log.tail(1).to;
        }
        assert_eq!(text(log.since(0)).lines().count(), 70);
        assert!(text(log.since(0)).starts_with("31\n"));
        assert_eq!(text(log.since(end - 4)), "100\n");
        log.append(&[vec![b'x'; 70 << 10], b"\nlast\n".to_vec()].concat()).unwrap();
        assert_eq!(text(log.since(0)), "last\n");
        assert!(fs::metadata(folder.path().join("web.log")).unwrap().len() < 64 << 10);
    }

    #[test]
    fn a_reader_goes_on_through_a_trim() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        log.append("old\n".repeat(100).as_bytes()).unwrap();
        let before = log.since(0);
        log.append("new\n".repeat(50).as_bytes()).unwrap();
        assert_eq!(text(before), "old\n".repeat(100));
        assert_eq!(text(log.since(400)), "new\n".repeat(50));
    }

    #[test]
    fn it_has_a_bound_also_where_its_folder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        fs::remove_dir_all(folder.path()).unwrap();
        let failures = (0..1000).filter(|_| log.append(b"line\n").is_err()).count();
        assert_eq!(failures, 9);
        assert_eq!(log.tail(1).to, 5000);
        assert!(text(log.since(0)).lines().count() <= 100);
    }

    #[test]
    fn it_goes_on_where_a_predecessor_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        log.append("line\n".repeat(101).as_bytes()).unwrap();
        let end = log.tail(1).to;
        drop(log);
        let path = folder.path().join("web.log");
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"half").unwrap();
        let log = open(folder.path());
        assert_eq!(log.tail(1).to, end);
        assert_eq!(text(log.tail(2)), "line\nline\n");
    }
}
