//! A log as a stream of bytes.

use std::{io, sync::Arc};

use berth_link::wire::AgentProblem;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;

use super::{
    lines,
    log::{Log, Part},
};

/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// What there is from an offset on, or else the last lines.
pub async fn part(log: Arc<Log>, since: Option<u64>, tail: u64) -> Result<Part, AgentProblem> {
    let found = spawn_blocking(move || match since {
        Some(offset) => log.since(offset),
        None => log.tail(tail),
    });
    found.await.map_err(|error| AgentProblem::new("LogNotRead", error.to_string()))
}

/// A part of a log.
pub fn once(part: Part, timestamps: bool) -> impl Stream<Item = io::Result<Bytes>> {
    let pieces = stream::try_unfold(part, |mut part| async move {
        if part.is_empty() {
            return Ok(None);
        }
        let (bytes, part) = spawn_blocking(move || part.read(READ).map(|bytes| (bytes, part)))
            .await
            .map_err(io::Error::other)??;
        Ok(if bytes.is_empty() { None } else { Some((bytes, part)) })
    });
    let mut start = Vec::new();
    pieces.map_ok(move |bytes| if timestamps { bytes } else { without_times(&mut start, &bytes) })
}

/// A part of a log, and then what is added to it, until it is removed. What was dropped before it could be
/// sent is missing.
pub fn follow(log: Arc<Log>, first: Part, timestamps: bool) -> impl Stream<Item = io::Result<Bytes>> {
    let grows = log.grows();
    let later = stream::unfold((log, grows, first.to), |(log, mut grows, offset)| async move {
        let growth = *grows.wait_for(|growth| growth.end > offset || growth.removed).await.ok()?;
        if growth.end <= offset {
            return None;
        }
        let part = part(log.clone(), Some(offset), 0).await.ok()?;
        let next = part.to;
        Some((part, (log, grows, next)))
    });
    stream::iter([first]).chain(later).flat_map(move |part| once(part, timestamps).boxed())
}

/// The whole lines in these bytes without time and source. What is no whole line yet is kept in
/// `start` for the next bytes.
fn without_times(start: &mut Vec<u8>, bytes: &[u8]) -> Bytes {
    start.extend_from_slice(bytes);
    let whole = start.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut texts = Vec::with_capacity(whole);
    for line in start[..whole].split_inclusive(|byte| *byte == b'\n') {
        texts.extend_from_slice(lines::text_of(line));
    }
    start.drain(..whole);
    texts.into()
}
